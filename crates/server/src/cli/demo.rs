//! `isango demo`: the whole product on loopback, without a key and without a network.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use isango_simulator::{Options, Simulator};
use isango_types::Secret;
use serde_json::json;
use tokio::sync::oneshot;

use crate::cli::traffic::{self, Tally, Traffic};
use crate::cli::{runtime, setup, stop_signal, write_json};
use crate::config::{Config, LogFormat, LogSettings, Sources};
use crate::{Server, start, telemetry};

/// Run a gateway before simulated providers, with a minute of traffic
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs no key and no network. Where a port is taken, a free one is used. The records are removed
in the end, unless --data-dir names a folder for them.

Example: isango demo --seconds 10 --rate 20")]
pub(super) struct Args {
    /// Address of the gateway
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8700")]
    listen: SocketAddr,

    /// Address of health and metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8701")]
    admin_listen: SocketAddr,

    /// Address of the simulated providers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8790")]
    simulator: SocketAddr,

    /// Folder of the record store, which is kept [default: a temporary one]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,

    /// How long traffic is sent; the demo serves on afterwards
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,

    /// Requests per second
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rate: u64,

    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// Where the parts of the demo are.
struct Places {
    data: String,
    /// Makes whoever follows it the owner of the dashboard.
    link: Option<Secret>,
    admin: String,
    simulator: String,
    folder: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    telemetry::start(&LogSettings {
        level: "warn".into(),
        format: LogFormat::Text,
    })?;
    let folder = Folder::new(args.data_dir.as_deref())?;
    runtime()?.block_on(async {
        let simulator = Simulator::bind(free(args.simulator))
            .await
            .context("the simulator")?;
        let simulator = simulator.with(Options {
            real_time: true,
            ..Options::default()
        });
        let at = simulator.local_addr()?;
        let server = start(&configuration(args, &folder.path, at)?)?;
        let places = Places {
            data: server.data_url(),
            link: setup::for_terminal(&server)?,
            admin: server.admin_url(),
            simulator: format!("http://{at}"),
            folder: folder.path.clone(),
        };
        let (end, ended) = oneshot::channel();
        let simulate = simulator.serve(async {
            // An error means that the other end is gone: the demo is over too.
            ended.await.ok();
        });
        let demonstrate = async {
            let done = demonstrate(args, &places, server, out).await;
            // The simulator ends by itself when nobody listens any more.
            end.send(()).ok();
            done
        };
        tokio::join!(simulate, demonstrate).1
    })?;
    Ok(0)
}

/// Sends traffic, serves until it is told to stop, stops in order.
async fn demonstrate(
    args: &Args,
    places: &Places,
    server: Server,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut stop = std::pin::pin!(stop_signal()?);
    announce(args, places, out)?;
    let traffic = Traffic {
        authority: places.data.trim_start_matches("http://").to_owned(),
        time: Duration::from_secs(args.seconds),
        every: Duration::from_secs(1) / u32::try_from(args.rate)?,
    };
    let tally = tokio::select! {
        tally = traffic::send(&traffic) => Some(tally),
        stopped = &mut stop => stopped.map(|()| None)?,
    };
    if let Some(tally) = tally {
        summarize(args, &tally, out)?;
        stop.await?;
    }
    server.stop().await
}

fn configuration(args: &Args, folder: &Path, at: SocketAddr) -> anyhow::Result<Config> {
    let (listen, admin_listen) = (free(args.listen), free(args.admin_listen));
    let text = format!(
        r#"
listen = "{listen}"
admin_listen = "{admin_listen}"
data_dir = {folder:?}

[providers.azure-openai]
base_url = "http://{at}/{{resource}}"
[providers.openai]
base_url = "http://{at}/v1"
[providers.anthropic]
base_url = "http://{at}"
[providers.google-ai-studio]
base_url = "http://{at}"

[[gateways]]
id = "support"
record_raw_streams = true
fallback = {{ azure-openai-sa = ["azure-openai-eu"] }}
[[gateways.targets]]
name = "azure-openai-sa"
provider = "azure-openai"
resource = "aoai-demo-sa"
region = "southafricanorth"
credential = "any"
models = {{ chat = "gpt-4o", mini = "gpt-4o-mini" }}
[[gateways.targets]]
name = "azure-openai-eu"
provider = "azure-openai"
resource = "aoai-demo-eu"
region = "westeurope"
credential = "any"
models = {{ chat-eu = "gpt-4o" }}

[[gateways]]
id = "search"

[[gateways]]
id = "agents"
"#
    );
    Ok(Config::parse(&text, &Sources::default())?)
}

/// The address if it can be had, else one with a free port.
fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

fn announce(args: &Args, places: &Places, out: &mut dyn Write) -> anyhow::Result<()> {
    let Places {
        data,
        link,
        admin,
        simulator,
        folder,
    } = places;
    if args.json {
        let event = "listening";
        let about = json!({ "event": event, "data": data, "admin": admin,
                            "simulator": simulator, "data_dir": folder });
        write_json(out, &about)?;
        return Ok(out.flush()?);
    }
    let folder = folder.display();
    let dashboard = match link {
        Some(link) => link.expose().to_owned(),
        None => format!("{admin} (isango setup-link --data-dir {folder} lets in the first one)"),
    };
    write!(
        out,
        "\
Isango demo: a gateway before simulated providers. Ctrl-C ends it.

  gateway    {data}
  dashboard  {dashboard}
  metrics    {admin}/metrics
  simulator  {simulator} (its page tells which faults a request can ask for)
  records    isango logs tail -f --data-dir {folder}

Try:
  curl -s '{data}/v1/local/support/azure-openai/aoai-demo-sa/chat/chat/completions?api-version=2024-10-21' \\
    -H 'api-key: any' -H 'content-type: application/json' -H 'cf-aig-metadata: {{\"tenantId\":\"you\"}}' \\
    -d '{{\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'

Sending {} requests per second for {} seconds.
",
        args.rate, args.seconds
    )?;
    Ok(out.flush()?)
}

fn summarize(args: &Args, tally: &Tally, out: &mut dyn Write) -> anyhow::Result<()> {
    let Tally {
        sent,
        succeeded,
        refused,
        broken,
        left,
    } = tally;
    if args.json {
        let about = json!({ "event": "traffic", "sent": sent, "succeeded": succeeded,
                            "refused": refused, "broken": broken, "left": left });
        write_json(out, &about)?;
    } else {
        writeln!(
            out,
            "Sent {sent} requests: {succeeded} answered, {refused} refused, {broken} cut, {left} left \
             early (all on purpose). Serving on; Ctrl-C ends it."
        )?;
    }
    Ok(out.flush()?)
}

/// The folder of the records; a temporary one goes in the end.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    fn new(named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            return Ok(Self {
                path: path.to_path_buf(),
                is_temporary: false,
            });
        }
        let path = std::env::temp_dir().join(format!("isango-demo-{}", uuid::Uuid::now_v7()));
        // Fails where somebody else has made it, so that nobody chooses where records go.
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self {
            path,
            is_temporary: true,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed stays where temporary things go.
            fs::remove_dir_all(&self.path).ok();
        }
    }
}
