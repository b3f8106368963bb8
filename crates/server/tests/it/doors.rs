//! Every way to every provider, made from the catalogue and the path rules: through a gateway
//! without limits those that lead to a provider are found, and once a limit has nothing left, none
//! of them does any more, whatever it counts.

use isango_testkit::answer::{Step, json};
use isango_testkit::client::{Ask, Reply};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::h2::H2Client;
use isango_testkit::upstream::Upstream;
use isango_types::Provider;
use isango_types::provider::PathRule;

use crate::harness::{Harness, every_provider};

/// An account as Workers AI has them.
const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";

/// What has nothing left once one small answer has passed; of the last one, while it is on its way.
const RULES: [&str; 7] = [
    "unit = \"requests\"\nlimit = 1\nwindow = \"day\"",
    "unit = \"requests\"\nlimit = 1\nwindow = \"1h\"",
    "unit = \"requests\"\nlimit = 1\nwindow = \"1h\"\ntechnique = \"sliding\"",
    "unit = \"tokens\"\nlimit = 20\nwindow = \"day\"",
    "unit = \"cost\"\nlimit = 0.00005\nwindow = \"day\"",
    "unit = \"cost\"\nlimit = 0.00005\nwindow = \"day\"\nmode = \"relaxed\"",
    CONCURRENT,
];
const CONCURRENT: &str = "unit = \"concurrent\"\nlimit = 1";

/// The paths that a rule has, behind the provider: one for each row that it tells apart.
fn paths(rule: PathRule) -> &'static [&'static str] {
    match rule {
        PathRule::Append => &[
            "chat/completions",
            "v1/chat/completions",
            "responses",
            "embeddings",
            "images/generations",
            "moderations",
            "v1/messages",
            "v1beta/models/gemini-2.5-pro:generateContent",
            "models",
            "",
        ],
        PathRule::AzureOpenai => &[
            "res/dep/chat/completions?api-version=2024-10-21",
            "res/openai/deployments/dep/chat/completions?api-version=2024-10-21",
            "res/deployments/dep/embeddings?api-version=2024-10-21",
            "res/responses?api-version=2025-04-01-preview",
            "res/dep/openai/v1/chat/completions",
            "res/dep/deployments/other/chat/completions?api-version=2024-10-21",
        ],
        PathRule::Azure => &["res/anthropic/v1/messages", "res/models/chat/completions"],
        PathRule::Bedrock => &[
            "bedrock-runtime/us-east-1/model/some.model/converse",
            "bedrock-runtime/us-east-1/model/some.model/invoke",
        ],
        PathRule::Vertex => {
            &["v1/projects/p/locations/us-central1/publishers/google/models/m:generateContent"]
        }
        PathRule::WorkersAi => &[
            "@cf/meta/llama",
            "run/@cf/meta/llama",
            "v1/chat/completions",
        ],
        PathRule::Fal => &["fal-ai/flux/dev"],
        PathRule::Baseten => &[
            "v1/chat/completions",
            "model/abc123/predict",
            "model/abc123",
        ],
    }
}

/// How a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Http1,
    Http2,
}

/// One way to a provider.
struct Door {
    ask: Ask,
    transport: Transport,
    /// Whether it has to lead to the provider.
    is_sure: bool,
}

impl Door {
    fn new(ask: Ask, is_sure: bool) -> Self {
        Self {
            ask,
            transport: Transport::Http1,
            is_sure,
        }
    }

    async fn open(&self, gateway: &Harness) -> Reply {
        match self.transport {
            Transport::Http1 => gateway.ask(&self.ask).await,
            Transport::Http2 => H2Client::connect(gateway.addr).await.ask(&self.ask).await,
        }
    }
}

fn keyed(ask: Ask, header: &str) -> Ask {
    let ask = ask
        .with("content-type", "application/json")
        .with("authorization", "Bearer k");
    match header {
        "authorization" => ask,
        other => ask.with(other, "k"),
    }
}

/// Every way to what stands as `name` in a path.
fn doors(name: &str, header: &str, paths: &[&str]) -> Vec<Door> {
    let at = |path: &str| format!("/v1/{ACCOUNT}/default/{name}/{path}");
    let post = |target: &str| keyed(Ask::post(target, PROMPT), header);
    let mut doors: Vec<Door> = paths
        .iter()
        .map(|path| Door::new(post(&at(path)), true))
        .collect();
    for path in paths {
        let ask = post(&at(path));
        doors.push(Door {
            transport: Transport::Http2,
            ..Door::new(ask, true)
        });
        let leg = format!(
            r#"[{{"provider":"{name}","endpoint":"{path}","headers":{{"authorization":"Bearer k","{header}":"k"}},"query":{PROMPT}}}]"#
        );
        doors.push(Door::new(
            Ask::post(&format!("/v1/{ACCOUNT}/default"), leg),
            false,
        ));
    }
    let first = at(paths[0]);
    for method in ["PUT", "PATCH", "GET", "DELETE", "OPTIONS", "HEAD", "QUERY"] {
        let ask = keyed(Ask::new(method, &first), header);
        doors.push(Door::new(
            match method.starts_with('P') {
                true => ask.body(PROMPT),
                false => ask,
            },
            false,
        ));
    }
    let chunked = keyed(Ask::new("POST", &first), header).chunked([PROMPT]);
    let form = keyed(Ask::post(&first, "--x--"), header);
    let upgrade = keyed(Ask::get(&first), header)
        .with("connection", "upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    doors.extend([chunked, form, upgrade].map(|ask| Door::new(ask, false)));
    doors.extend(spellings(name, &first).map(|target| Door::new(post(&target), false)));
    doors
}

/// Other ways to write a path, which may or may not be understood.
fn spellings(name: &str, path: &str) -> impl Iterator<Item = String> {
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    [
        format!("http://localhost{path}"),
        format!("{bare}/?{query}"),
        format!("{bare}?{query}&a=b"),
        format!("{bare};a=b?{query}"),
        format!("{bare}%2f?{query}"),
        path.replacen(name, &name.to_uppercase(), 1),
        path.replacen(name, &encoded, 1),
        path.replacen(name, &format!("{name}/"), 1),
        path.replacen(name, &format!("/{name}"), 1),
        path.replacen(name, &format!("./{name}"), 1),
        path.replacen(name, &format!("%2e/{name}"), 1),
        path.replacen("/v1/", "//v1/", 1),
        path.replacen("/v1/", "/V1/", 1),
        path.replacen("default", "Default", 1),
    ]
    .into_iter()
}

/// A gateway whose every provider is `upstream`, with one of its own and two targets.
async fn gateway(rule: &str, upstream: &Upstream) -> Harness {
    let url = upstream.url();
    let limit = match rule {
        "" => String::new(),
        rule => format!("[[gateways.limits]]\nid = \"rule\"\n{rule}\n"),
    };
    let mut toml = format!(
        "[[gateways]]\naccount = \"{ACCOUNT}\"\nid = \"default\"\n\
         [[gateways.targets]]\nname = \"home\"\nprovider = \"openai\"\n\
         [[gateways.targets]]\nname = \"east\"\nprovider = \"azure-openai\"\nresource = \"res\"\n\
         {limit}[providers.custom-acme]\nbase_url = \"{url}/acme\"\n"
    );
    toml += &every_provider(upstream);
    Harness::start(&toml).await
}

fn all_doors(providers: &[Provider]) -> Vec<Door> {
    let mut all = Vec::new();
    for provider in providers {
        let header = &*provider.auth.header;
        all.extend(doors(&provider.slug, header, paths(provider.path)));
        for alias in &provider.aliases {
            all.extend(doors(alias, header, &paths(provider.path)[..1]));
        }
    }
    all.extend(doors(
        "home",
        "authorization",
        &["chat/completions", "responses"],
    ));
    all.extend(doors(
        "east",
        "api-key",
        &["dep/chat/completions?api-version=2024-10-21"],
    ));
    all.extend(doors(
        "custom-acme",
        "authorization",
        paths(PathRule::Append),
    ));
    all
}

#[tokio::test]
async fn no_way_to_any_provider_is_without_any_limit() {
    let providers = Provider::built_in().unwrap();
    let doors = all_doors(&providers);
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let free = gateway("", &upstream).await;
    let mut leads = Vec::new();
    for door in &doors {
        let before = upstream.count();
        let reply = door.open(&free).await;
        let does = upstream.count() > before;
        assert!(does || !door.is_sure, "{:?}: {}", door.ask, reply.text());
        leads.push(does);
    }
    let open = leads.iter().filter(|leads| **leads).count();
    assert!(open > 20 * providers.len(), "{open} of {}", doors.len());
    for rule in RULES {
        check_shut(rule, doors.iter().zip(&leads)).await;
    }
}

async fn check_shut(rule: &str, doors: impl Iterator<Item = (&Door, &bool)>) {
    let hangs = rule == CONCURRENT;
    let answer = match hangs {
        true => json(COMPLETION).first(Step::Wait),
        false => json(COMPLETION),
    };
    let upstream = Upstream::start([answer]).await;
    let gateway = gateway(rule, &upstream).await;
    let chat = format!("/v1/{ACCOUNT}/default/openai/chat/completions");
    let first = keyed(Ask::post(&chat, PROMPT), "authorization");
    let mut client = gateway.send(&first).await;
    upstream.request(0).await;
    if !hangs {
        assert_eq!(client.reply().await.status(), 200);
        gateway.records(1).await;
    }
    for (door, leads) in doors {
        let reply = door.open(&gateway).await;
        if *leads {
            assert_eq!(reply.status(), 429, "{rule}: {:?}", door.ask);
            assert_eq!(
                reply.header("cf-aig-source"),
                Some("rate-limit"),
                "{:?}",
                door.ask
            );
        }
        assert_eq!(upstream.count(), 1, "{rule}: {:?}", door.ask);
    }
}
