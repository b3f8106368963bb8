//! Limits of targets: they count and guard the target that a request is really sent to, in a group,
//! after a failure, beside another.

use isango_testkit::answer::{Answer, Step, json, status};
use isango_testkit::client::{Ask, Reply};
use isango_testkit::fixtures::{COMPLETION, PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::limit::Verdict;
use isango_types::record::{Outcome, Record};

use crate::harness::Harness;

const TOKENS: u64 = 24;

async fn answering(answer: Answer) -> Upstream {
    Upstream::start([answer]).await
}

/// A gateway with targets `a`, `b`, … at these upstreams.
async fn gateway(settings: &str, upstreams: &[&Upstream]) -> Harness {
    let mut toml = format!("[[gateways]]\nid = \"g\"\n{settings}\n");
    for (name, upstream) in ["a", "b", "c", "d"].into_iter().zip(upstreams) {
        toml += &format!(
            "[[gateways.targets]]\nname = \"{name}\"\nprovider = \"openai\"\n\
             credential = \"configured-key-of-{name}\"\nbase_url = \"{}/{name}\"\n",
            upstream.url()
        );
    }
    Harness::start(&toml).await
}

fn rule(id: &str, settings: &str) -> String {
    format!("[[gateways.limits]]\nid = \"{id}\"\nwindow = \"day\"\n{settings}\n")
}

fn chat(at: &str) -> Ask {
    Ask::post(&format!("/v1/local/g/{at}/chat/completions"), PROMPT)
}

fn from(reply: &Reply) -> (u16, &str) {
    (reply.status(), reply.header("cf-aig-provider").unwrap())
}

/// Rule, bucket, verdict and charge of each decision, by rule and bucket.
fn decisions(record: &Record) -> Vec<(String, Verdict, u64)> {
    let limits = record.limits.iter();
    let mut told: Vec<_> = limits
        .map(|one| {
            let bucket: Vec<_> = one.bucket.iter().flatten().map(|value| &**value).collect();
            let name = format!("{} {}", one.rule, bucket.join(","));
            (name.trim().to_owned(), one.verdict, one.charged)
        })
        .collect();
    told.sort_by(|one, other| one.0.cmp(&other.0));
    told
}

fn told(name: &str, verdict: Verdict, charged: u64) -> (String, Verdict, u64) {
    (name.to_owned(), verdict, charged)
}

const GROUP: &str = "[[gateways.groups]]\nname = \"both\"\ntargets = [\"a\", \"b\"]\n";
const CHAIN: &str = "fallback = { a = [\"b\", \"c\"] }\n";

#[tokio::test]
async fn each_target_of_a_group_has_what_is_its_own() {
    for (unit, each) in [
        ("requests\"\nlimit = 2", 1),
        ("tokens\"\nlimit = 40", TOKENS),
    ] {
        let (a, b) = (
            answering(json(COMPLETION)).await,
            answering(json(COMPLETION)).await,
        );
        let rule = rule("own", &format!("by = [\"target\"]\nunit = \"{unit}"));
        let gateway = gateway(&format!("{GROUP}{rule}"), &[&a, &b]).await;
        for sent in 1..=4 {
            let reply = gateway.ask(&chat("openai")).await;
            assert_eq!(reply.status(), 200, "{unit}: {}", reply.text());
            gateway.records(sent).await;
        }
        let reply = gateway.ask(&chat("both")).await;
        assert_eq!(
            (reply.status(), reply.header("cf-aig-source")),
            (429, Some("rate-limit"))
        );
        assert_eq!((a.count(), b.count()), (2, 2), "{unit}");
        let records = gateway.records(5).await;
        for record in &records[..4] {
            let target = record.target.as_deref().unwrap();
            assert_eq!(
                decisions(record),
                [told(&format!("own {target}"), Verdict::Admitted, each)]
            );
        }
        let refused = ["own a", "own b"].map(|name| told(name, Verdict::Refused, 0));
        assert_eq!(decisions(&records[4]), refused);
        assert_eq!(records[4].outcome, Outcome::Refused);
    }
}

#[tokio::test]
async fn a_stand_in_that_is_full_is_passed_over() {
    let (a, b, c) = (
        answering(status(503)).await,
        answering(json(COMPLETION)).await,
        answering(json(COMPLETION)).await,
    );
    let of_b = rule(
        "of-b",
        "only = { target = [\"b\"] }\nunit = \"requests\"\nlimit = 1",
    );
    let all = rule("all", "unit = \"tokens\"\nlimit = 100_000");
    let gateway = gateway(&format!("{CHAIN}{of_b}{all}"), &[&a, &b, &c]).await;
    assert_eq!(from(&gateway.ask(&chat("a")).await), (200, "b"));
    gateway.records(1).await;
    assert_eq!(from(&gateway.ask(&chat("a")).await), (200, "c"));
    let records = gateway.records(2).await;
    assert_eq!(
        decisions(&records[0]),
        [
            told("all", Verdict::Admitted, TOKENS),
            told("of-b", Verdict::Admitted, 1)
        ]
    );
    assert_eq!(
        decisions(&records[1]),
        [
            told("all", Verdict::Admitted, TOKENS),
            told("of-b", Verdict::Diverted, 0)
        ]
    );
    assert_eq!(
        records[1]
            .limits
            .iter()
            .find(|one| &*one.rule == "all")
            .unwrap()
            .after,
        2 * TOKENS
    );
    let note = "target `b` was passed over: limit `of-b` has no room";
    assert!(
        records[1].notes.iter().any(|one| one.contains(note)),
        "{:?}",
        records[1].notes
    );
    assert_eq!((a.count(), b.count(), c.count()), (2, 1, 1));
}

#[tokio::test]
async fn where_every_stand_in_is_full_it_is_refused() {
    let (a, b) = (
        answering(status(503)).await,
        answering(json(COMPLETION)).await,
    );
    let of_b = rule(
        "of-b",
        "only = { target = [\"b\"] }\nunit = \"requests\"\nlimit = 1",
    );
    let all = rule("all", "unit = \"requests\"\nlimit = 100");
    let settings = format!("fallback = {{ a = [\"b\"] }}\n{of_b}{all}");
    let gateway = gateway(&settings, &[&a, &b]).await;
    assert_eq!(from(&gateway.ask(&chat("a")).await), (200, "b"));
    let reply = gateway.ask(&chat("a")).await;
    assert_eq!(reply.status(), 429, "{}", reply.text());
    assert!(reply.text().contains("rule 'of-b'"), "{}", reply.text());
    let record = gateway.records(2).await.remove(1);
    assert_eq!(
        decisions(&record),
        [
            told("all", Verdict::Admitted, 1),
            told("of-b", Verdict::Refused, 0)
        ]
    );
    assert_eq!((a.count(), b.count()), (2, 1));
}

#[tokio::test]
async fn what_a_failed_target_was_sent_counts_there_once() {
    let (a, b) = (
        answering(status(503)).await,
        answering(json(COMPLETION)).await,
    );
    let own = |unit: &str| {
        rule(
            unit,
            &format!("by = [\"target\"]\nunit = \"{unit}\"\nlimit = 50_000"),
        )
    };
    let cost = rule("cost", "by = [\"target\"]\nunit = \"cost\"\nlimit = 5");
    let at_once = rule(
        "once",
        "by = [\"target\"]\nunit = \"concurrent\"\nlimit = 1",
    )
    .replace("window = \"day\"\n", "");
    let rules = own("requests") + &own("tokens") + &cost + &at_once;
    let settings = format!("fallback = {{ a = [\"b\"] }}\n{rules}");
    let gateway = gateway(&settings, &[&a, &b]).await;
    for count in 1..=2 {
        assert_eq!(from(&gateway.ask(&chat("a")).await), (200, "b"));
        let record = gateway.records(count).await.remove(count - 1);
        let cost = record.cost.nanousd.unwrap();
        let told = [
            ("cost a", 0),
            ("cost b", cost),
            ("once a", 0),
            ("once b", 0),
            ("requests a", 1),
            ("requests b", 1),
            ("tokens a", 0),
            ("tokens b", TOKENS),
        ];
        let told = told.map(|(name, charged)| self::told(name, Verdict::Admitted, charged));
        assert_eq!(decisions(&record), told);
        // Nothing is held any more.
        for one in &record.limits {
            assert_eq!(one.after, one.charged * count as u64, "{one:?}");
        }
    }
}

#[tokio::test]
async fn legs_that_were_sent_stay_on_record_when_a_later_one_is_refused() {
    let a = Upstream::start([json(COMPLETION), status(500)]).await;
    let all = rule("all", "unit = \"requests\"\nlimit = 100");
    let small = rule(
        "small",
        "only = { model = [\"gpt-4o-mini\"] }\nunit = \"requests\"\nlimit = 1\n\
         on_exceeded = \"fallback\"\nfallback_to = [\"b\"]",
    );
    let gateway = gateway(&format!("{all}{small}"), &[&a, &a]).await;
    let mini = PROMPT.replace("gpt-4o", "gpt-4o-mini");
    let leg = |body: &str| {
        format!(r#"{{"provider":"a","endpoint":"chat/completions","headers":{{}},"query":{body}}}"#)
    };
    let first = Ask::post("/v1/local/g", format!("[{}]", leg(&mini)));
    let reply = gateway.ask(&first).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let legs = format!("[{},{}]", leg(PROMPT), leg(&mini));
    let reply = gateway.ask(&Ask::post("/v1/local/g", legs)).await;
    assert_eq!(reply.status(), 429, "{}", reply.text());
    let record = gateway.records(2).await.remove(1);
    assert_eq!(
        decisions(&record),
        [
            told("all", Verdict::Admitted, 1),
            told("small", Verdict::Refused, 0)
        ]
    );
}

#[tokio::test]
async fn a_limit_does_not_send_it_where_its_token_may_not_go() {
    let (a, b) = (
        answering(json(COMPLETION)).await,
        answering(json(COMPLETION)).await,
    );
    let dear = rule(
        "dear",
        "unit = \"requests\"\nlimit = 1\nonly = { target = [\"a\"] }\n\
         on_exceeded = \"fallback\"\nfallback_to = [\"b\"]\nfallback_model = \"gpt-4o-mini\"",
    );
    let tokens = "[[tokens]]\nname = \"app\"\nsecret = \"isg_0123456789abcdef\"\n\
                  models = [\"gpt-4o\"]\n";
    let mut toml = format!("{tokens}[[gateways]]\nid = \"g\"\n{dear}");
    for (name, upstream) in [("a", &a), ("b", &b)] {
        toml += &format!(
            "[[gateways.targets]]\nname = \"{name}\"\nprovider = \"openai\"\n\
             credential = \"key\"\nbase_url = \"{}\"\n",
            upstream.url()
        );
    }
    let gateway = Harness::start(&toml).await;
    let ask = chat("a").with("cf-aig-authorization", "isg_0123456789abcdef");
    assert_eq!(from(&gateway.ask(&ask).await), (200, "a"));
    let reply = gateway.ask(&ask).await;
    assert_eq!(reply.status(), 429, "{}", reply.text());
    let record = gateway.records(2).await.remove(1);
    assert_eq!(decisions(&record), [told("dear", Verdict::Refused, 0)]);
    assert_eq!((a.count(), b.count()), (1, 0));
}

/// A gateway whose target `a` has answered often enough to be known as fast, and then does as in
/// `then`; what takes longer is sent to `b` as well, and of `d` to `c`.
async fn hedging(rules: &str, upstreams: [&Upstream; 4]) -> Harness {
    let hedge = "fallback = { a = [\"b\"], d = [\"c\"] }\n[gateways.hedge]\nenabled = true\n\
                 min_delay = \"10ms\"\nmax_delay = \"10ms\"\n";
    let gateway = gateway(&format!("{hedge}{rules}"), &upstreams).await;
    for at in ["a", "d"] {
        for _ in 0..KNOWN {
            assert_eq!(from(&gateway.ask(&chat(at)).await), (200, at));
        }
    }
    gateway
}

/// So many answers make a target known as fast.
const KNOWN: usize = 20;

async fn fast(then: Answer) -> Upstream {
    let before = std::iter::repeat_n(json(COMPLETION), KNOWN);
    Upstream::start(before.chain([then])).await
}

/// The records of what came behind those that made targets known, oldest first.
async fn later(gateway: &Harness, count: usize) -> Vec<Record> {
    gateway
        .records(2 * KNOWN + count)
        .await
        .split_off(2 * KNOWN)
}

#[tokio::test]
async fn a_second_send_does_not_go_to_a_full_target() {
    let slow = || json(COMPLETION).first(Step::Wait);
    let (a, b) = (fast(slow()).await, answering(json(COMPLETION)).await);
    let (c, d) = (answering(json(COMPLETION)).await, fast(slow()).await);
    let of_b = rule(
        "of-b",
        "only = { target = [\"b\"] }\nunit = \"requests\"\nlimit = 1",
    );
    let gateway = hedging(&of_b, [&a, &b, &c, &d]).await;
    assert_eq!(from(&gateway.ask(&chat("b")).await), (200, "b"));
    let mut first = gateway.send(&chat("a")).await;
    a.request(KNOWN).await;
    // One that was sent later has been overtaken: the first would have been by now.
    assert_eq!(from(&gateway.ask(&chat("d")).await), (200, "c"));
    a.go();
    let reply = first.reply().await;
    assert_eq!((from(&reply), b.count()), ((200, "a"), 1));
    assert_eq!(reply.header("cf-aig-attempts"), Some("1"));
    let records = later(&gateway, 3).await;
    let alone = records
        .iter()
        .find(|one| one.target.as_deref() == Some("a"));
    // It stands on record, and refused nothing.
    assert_eq!(
        decisions(alone.unwrap()),
        [told("of-b", Verdict::Diverted, 0)]
    );
}

#[tokio::test]
async fn of_two_sends_each_target_draws_a_request_and_one_of_them_tokens() {
    let (a, d) = (
        fast(Answer::raw([Step::Stall])).await,
        fast(json(COMPLETION)).await,
    );
    let (b, c) = (
        answering(json(COMPLETION)).await,
        answering(json(COMPLETION)).await,
    );
    let limits = |by: &str, name: &str| {
        rule(
            &format!("{name}-r"),
            &format!("{by}unit = \"requests\"\nlimit = 1_000"),
        ) + &rule(
            &format!("{name}-t"),
            &format!("{by}unit = \"tokens\"\nlimit = 100_000"),
        )
    };
    let rules = limits("by = [\"target\"]\n", "own") + &limits("", "all");
    let gateway = hedging(&rules, [&a, &b, &c, &d]).await;
    assert_eq!(from(&gateway.ask(&chat("a")).await), (200, "b"));
    a.given_up(KNOWN).await;
    let record = later(&gateway, 1).await.remove(0);
    let expected = [
        told("all-r", Verdict::Admitted, 1),
        told("all-t", Verdict::Admitted, TOKENS),
        told("own-r a", Verdict::Admitted, 1),
        told("own-r b", Verdict::Admitted, 1),
        told("own-t a", Verdict::Admitted, 0),
        told("own-t b", Verdict::Admitted, TOKENS),
    ];
    assert_eq!(decisions(&record), expected);
    // And the counters are what the record says.
    assert_eq!(from(&gateway.ask(&chat("b")).await), (200, "b"));
    let mut record = later(&gateway, 2).await.remove(1);
    record
        .limits
        .sort_by(|one, other| one.rule.cmp(&other.rule));
    let before = record.limits.iter().map(|one| (&*one.rule, one.before));
    let known = 2 * u64::try_from(KNOWN).unwrap() + 1;
    let expected = [
        ("all-r", known),
        ("all-t", known * TOKENS),
        ("own-r", 1),
        ("own-t", TOKENS),
    ];
    assert_eq!(before.collect::<Vec<_>>(), expected);
}
