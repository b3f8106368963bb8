//! The traffic of the demo: several tenants, models and surfaces, streams and whole answers, and
//! some things that go wrong, the same in every run.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Most requests under way; more wait.
const MOST_AT_ONCE: usize = 128;

/// Longest time that one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where to, how long, how often.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    /// Host and port of the gateway.
    pub(super) authority: String,
    /// How long requests are sent.
    pub(super) time: Duration,
    /// From one to the next.
    pub(super) every: Duration,
}

/// How the requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All of them.
    pub(super) sent: u64,
    /// Ended whole, with a status below 400.
    pub(super) succeeded: u64,
    /// Ended with another status.
    pub(super) refused: u64,
    /// Broke off.
    pub(super) broken: u64,
    /// Were left by us before their end.
    pub(super) left: u64,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Succeeded,
    Refused,
    Broken,
    Left,
}

impl Tally {
    fn count(&mut self, ending: Ending) {
        self.sent += 1;
        match ending {
            Ending::Succeeded => self.succeeded += 1,
            Ending::Refused => self.refused += 1,
            Ending::Broken => self.broken += 1,
            Ending::Left => self.left += 1,
        }
    }
}

/// Sends requests for as long as it is told, and waits for their answers.
pub(super) async fn send(traffic: &Traffic) -> Tally {
    let mut tally = Tally::default();
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(traffic.every);
    let end = tokio::time::Instant::now() + traffic.time;
    let mut number = 0;
    while tokio::time::Instant::now() < end {
        ticks.tick().await;
        running.spawn(perform(traffic.authority.clone(), call(number)));
        number += 1;
        while running.len() >= MOST_AT_ONCE {
            count_next(&mut running, &mut tally).await;
        }
    }
    while !running.is_empty() {
        count_next(&mut running, &mut tally).await;
    }
    tally
}

async fn count_next(running: &mut JoinSet<Ending>, tally: &mut Tally) {
    if let Some(ended) = running.join_next().await {
        tally.count(ended.unwrap_or(Ending::Broken));
    }
}

type Headers = Vec<(&'static str, String)>;

/// One request of the demo.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    headers: Headers,
    body: Value,
    /// Leave after so many frames of the answer.
    leave_after: Option<usize>,
}

async fn perform(authority: String, call: Call) -> Ending {
    let asked = tokio::time::timeout(PATIENCE, ask(&authority, call)).await;
    asked.ok().and_then(Result::ok).unwrap_or(Ending::Broken)
}

async fn ask(authority: &str, call: Call) -> anyhow::Result<Ending> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::post(call.path)
        .header("host", authority)
        .header("content-type", "application/json")
        .header("user-agent", "isango-demo");
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(call.body.to_string())))?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let ending = read(answer, call.leave_after).await;
        // Ends the connection, and with it the future beside this one.
        drop(sender);
        ending
    };
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // The connection has no result of its own: what breaks it breaks the answer.
        ending = answer => Ok(ending?),
        broken = &mut connection => {
            broken?;
            Ok(Ending::Broken)
        }
    }
}

async fn read(mut answer: Response<Incoming>, leave_after: Option<usize>) -> hyper::Result<Ending> {
    let is_refused = answer.status().as_u16() >= 400;
    let mut frames = 0;
    while let Some(frame) = answer.frame().await {
        frame?;
        frames += 1;
        if Some(frames) == leave_after {
            return Ok(Ending::Left);
        }
    }
    Ok(if is_refused {
        Ending::Refused
    } else {
        Ending::Succeeded
    })
}

/// Tenant, its share of the traffic, and the gateway that it uses.
const TENANTS: [(&str, u64, &str); 4] = [
    ("acme", 50, "support"),
    ("globex", 25, "search"),
    ("initech", 15, "agents"),
    ("hooli", 10, "agents"),
];

const PROMPTS: [&str; 8] = [
    "Where is my order?",
    "Summarize this ticket in one sentence: the printer prints everything twice.",
    "Translate to isiZulu: good morning, how are you?",
    "Write a polite answer to a customer who waits for a refund.",
    "Which of our products are out of stock in Cape Town?",
    "Explain what a gateway does to a ten-year-old.",
    "List three risks of this contract clause.",
    "What changed between version 1 and version 2?",
];

/// What goes wrong: how many of a thousand requests, and what they ask the simulator for.
const FAULTS: [(u64, &str, &str); 6] = [
    (25, "x-sim-status", "429"),
    (10, "x-sim-status", "500"),
    (5, "x-sim-status", "400"),
    (8, "x-sim-cut-after", "3,reset"),
    (15, "x-sim-latency-ms", "2500"),
    (5, "x-sim-reset", "rst"),
];

/// How many of a hundred requests ask what is asked all the time, and for the cache.
const FREQUENT: u64 = 15;

/// How many of a thousand streams are left by their client.
const LEAVERS: u64 = 30;

/// A number that looks random, from a number (splitmix64, Steele, Lea and Flood 2014).
const fn mixed(number: u64) -> u64 {
    let x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One of `choices`, by a number.
fn pick<T: Copy>(choices: &[T], number: u64) -> T {
    let count = u64::try_from(choices.len()).unwrap_or(u64::MAX);
    choices[usize::try_from(number % count).unwrap_or(0)]
}

/// The member of a list of shares that `number` falls on.
fn weighted<T: Copy>(choices: &[T], share: impl Fn(T) -> u64, number: u64) -> Option<T> {
    let mut left = number;
    choices
        .iter()
        .copied()
        .find(|choice| match left.checked_sub(share(*choice)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
}

/// The request of a number.
fn call(number: u64) -> Call {
    let mut seed = number.wrapping_mul(16);
    let mut next = || {
        seed += 1;
        mixed(seed)
    };
    let tenant = weighted(&TENANTS, |tenant| tenant.1, next() % 100);
    let (tenant, _, gateway) = tenant.unwrap_or(TENANTS[0]);
    let prompt = pick(&PROMPTS, next());
    let is_stream = next() % 100 < 60;
    let mut call = surface(gateway, next() % 100, is_stream, prompt);
    let metadata = json!({ "tenantId": tenant, "userId": format!("u{}", next() % 40) });
    call.headers.push(("cf-aig-metadata", metadata.to_string()));
    if next() % 100 < FREQUENT {
        // No faults: another wish to the simulator would make another question.
        call.headers.push(("cf-aig-cache-ttl", "3600".to_owned()));
        call.headers.push(("cf-aig-cache-key", tenant.to_owned()));
        return call;
    }
    match weighted(&FAULTS, |fault| fault.0, next() % 1_000) {
        Some((_, name, value)) => call.headers.push((name, value.to_owned())),
        None => call
            .headers
            .push(("x-sim-latency-ms", (80 + next() % 700).to_string())),
    }
    if is_stream && next() % 1_000 < LEAVERS {
        call.leave_after = Some(4);
    }
    call
}

fn surface(gateway: &str, die: u64, is_stream: bool, prompt: &str) -> Call {
    let messages = json!([
        { "role": "system", "content": "You are a helpful assistant of a demo." },
        { "role": "user", "content": prompt },
    ]);
    let of = |provider: &str, headers: Headers, body: Value| Call {
        path: format!("/v1/local/{gateway}/{provider}"),
        headers,
        body,
        leave_after: None,
    };
    let bearer = || vec![("authorization", "Bearer sk-demo".to_owned())];
    let azure = || vec![("api-key", "demo".to_owned())];
    let version = "api-version=2024-10-21";
    match (gateway, die) {
        ("support", 0..60) => of(
            &format!("azure-openai/aoai-demo-sa/chat/chat/completions?{version}"),
            azure(),
            json!({ "messages": messages, "stream": is_stream }),
        ),
        ("support", 60..85) => of(
            &format!("azure-openai/aoai-demo-eu/chat-eu/chat/completions?{version}"),
            azure(),
            json!({ "messages": messages, "stream": is_stream, "max_tokens": 200 }),
        ),
        ("support", _) => of(
            &format!("azure-openai/aoai-demo-sa/mini/chat/completions?{version}"),
            azure(),
            json!({ "messages": messages }),
        ),
        ("search", 0..50) => of(
            "openai/embeddings",
            bearer(),
            json!({ "model": "text-embedding-3-small", "input": prompt }),
        ),
        ("search", _) => gemini(is_stream, prompt, &of),
        (_, 0..45) => of(
            "anthropic/v1/messages",
            vec![
                ("x-api-key", "demo".into()),
                ("anthropic-version", "2023-06-01".into()),
            ],
            json!({ "model": "claude-sonnet-4-5", "max_tokens": 300, "stream": is_stream,
                    "messages": [{ "role": "user", "content": prompt }] }),
        ),
        (_, 45..75) => of(
            "openai/responses",
            bearer(),
            json!({ "model": "gpt-4.1-mini", "input": prompt, "stream": is_stream }),
        ),
        (_, _) => of(
            "openai/chat/completions",
            bearer(),
            json!({ "model": "gpt-4o", "messages": messages, "stream": is_stream }),
        ),
    }
}

fn gemini(is_stream: bool, prompt: &str, of: &dyn Fn(&str, Headers, Value) -> Call) -> Call {
    let verb = if is_stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    of(
        &format!("google-ai-studio/v1beta/models/gemini-2.5-flash:{verb}"),
        vec![("x-goog-api-key", "demo".into())],
        json!({ "contents": [{ "role": "user", "parts": [{ "text": prompt }] }] }),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_run_has_every_tenant_every_surface_and_every_fault() {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..2_000 {
            let call = call(number);
            let path = call.path.split('?').next().unwrap().to_owned();
            *seen.entry(path).or_default() += 1;
            for (name, value) in call
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("x-sim"))
            {
                *seen.entry(format!("{name}: {value}")).or_default() += 1;
            }
            let (_, metadata) = call
                .headers
                .iter()
                .find(|(name, _)| *name == "cf-aig-metadata")
                .unwrap();
            let metadata: Value = serde_json::from_str(metadata).unwrap();
            *seen
                .entry(metadata["tenantId"].as_str().unwrap().to_owned())
                .or_default() += 1;
            *seen.entry("left".into()).or_default() += u32::from(call.leave_after.is_some());
        }
        for (tenant, share, _) in TENANTS {
            let expected = u32::try_from(share).unwrap() * 20;
            assert!(
                seen[tenant].abs_diff(expected) < 120,
                "{tenant}: {}",
                seen[tenant]
            );
        }
        for (_, name, value) in FAULTS {
            assert!(
                seen.contains_key(&format!("{name}: {value}")),
                "{name}: {value}"
            );
        }
        let frequent = (0..2_000).filter(|n| {
            let mut headers = call(*n).headers.into_iter();
            headers.any(|(name, _)| name == "cf-aig-cache-key")
        });
        assert!((200..400).contains(&frequent.count()));
        assert!(seen["left"] > 10);
        let surfaces = seen
            .keys()
            .filter(|key| key.starts_with("/v1/local/"))
            .count();
        assert_eq!(surfaces, 9, "{seen:#?}");
    }

    #[test]
    fn two_runs_are_the_same() {
        for number in [0, 1, 77, u64::MAX] {
            assert_eq!(format!("{:?}", call(number)), format!("{:?}", call(number)));
        }
    }
}
