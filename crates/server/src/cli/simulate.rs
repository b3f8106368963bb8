//! `isango simulate`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use isango_simulator::{Options, Simulator};
use serde_json::json;

use crate::cli::{runtime, stop_signal, write_json};
use crate::config::value::parse_wait;

/// Play the providers: OpenAI, Azure OpenAI, Anthropic, Gemini, with faults on request
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Any key is good. Its page at / lists the surfaces and the faults that a request can ask for.

Example: isango simulate --pace 20
         curl -sN '127.0.0.1:8790/v1/chat/completions?sim_cut_after=5' \\
           -H 'authorization: Bearer any' \\
           -d '{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[]}'")]
pub(super) struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8790")]
    listen: SocketAddr,

    /// Tokens per second of streams; 0 is as fast as it goes
    #[arg(long, value_name = "N", default_value_t = 50.0)]
    pace: f64,

    /// Time to the first token of streams
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = duration)]
    ttft: Duration,

    /// Wait before each answer
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    latency: Duration,

    /// Changes every made-up word
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print one JSON line when it listens
    #[arg(long)]
    json: bool,
}

/// Reads a duration such as `250ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_wait(text).ok_or_else(|| "write a duration such as 250ms or 10s".into())
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let options = Options {
        pace: args.pace,
        ttft: args.ttft,
        latency: args.latency,
        seed: args.seed,
        ..Options::default()
    };
    runtime()?.block_on(async {
        let simulator = Simulator::bind(args.listen)
            .await
            .with_context(|| format!("cannot listen on {}", args.listen))?
            .with(options);
        let url = format!("http://{}", simulator.local_addr()?);
        let stop = stop_signal()?;
        if args.json {
            write_json(out, &json!({ "event": "listening", "url": url }))?;
        } else {
            writeln!(
                out,
                "simulator on {url} (its page tells what it can do); Ctrl-C ends it"
            )?;
        }
        out.flush()?;
        simulator
            .serve(async {
                // Without signals the process is ended by the system.
                stop.await.ok();
            })
            .await;
        Ok(0)
    })
}
