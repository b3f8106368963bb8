//! What limits do beyond refusing: streams that bring more than was held for them end or hold more,
//! and requests that do not fit go to another target.

use isango_testkit::answer::{Answer, Step, json, sse};
use isango_testkit::client::{Ask, Reply};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT};
use isango_testkit::upstream::Upstream;
use isango_types::limit::{Decision, Verdict};
use isango_types::record::{Outcome, Record};

use crate::fallback::{AZURE, CHAIN, ask, regions};
use crate::harness::{CHAT, Harness};

/// Six words, one token each.
const WORDS: [&str; 6] = [" zero", " one.", " two.", " tri.", " four", " five"];

/// A stream that was to have three tokens at most. `plain`: the gateway leaves its body as it is.
fn bounded(plain: bool) -> Ask {
    let option = match plain {
        true => r#"{"stream_options":{"include_usage":true},"max_tokens":3,"#,
        false => r#"{"max_tokens":3,"#,
    };
    let body = STREAM_PROMPT.replacen('{', option, 1);
    Ask::post(CHAT, body)
        .with("authorization", "Bearer k")
        .with("accept-encoding", "gzip")
}

async fn streamed(limit: &str, plain: bool, answer: Answer) -> (Reply, Record, Upstream) {
    let upstream = Upstream::start([answer]).await;
    let settings =
        format!("[[gateways]]\nid = \"default\"\n[[gateways.limits]]\nid = \"rule\"\n{limit}\n");
    let gateway = Harness::with(&settings, &upstream).await;
    let reply = gateway.ask(&bounded(plain)).await;
    (reply, gateway.record().await, upstream)
}

#[tokio::test]
async fn a_stream_that_passes_what_is_held_ends_as_its_format_does() {
    for unit in ["tokens\"\nlimit = 2_000", "cost\"\nlimit = 5"] {
        let limit = format!("unit = \"{unit}\nwindow = \"day\"\non_overrun = \"cut\"");
        // The provider goes on, and would never end.
        let answer = sse(chat_events(&WORDS)).cut_after(6, Step::Wait);
        let plain = unit.starts_with("tokens");
        let (reply, record, upstream) = streamed(&limit, plain, answer).await;
        let text = reply.text();
        assert!(text.contains(" two.") && !text.contains(" tri."), "{text}");
        let end = "\"choices\":[{\"delta\":{},\"finish_reason\":\"length\",\"index\":0}]}\n\ndata: [DONE]\n\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!(
            upstream.request(0).await.head.all("accept-encoding"),
            ["identity"]
        );
        assert_eq!(
            (record.status, record.outcome),
            (Some(200), Outcome::Overrun)
        );
        assert_eq!(&*record.error.unwrap().code, "limit_overrun");
        let usage = record.usage.unwrap();
        assert!(
            usage.estimated && (3..=6).contains(&usage.output),
            "{usage:?}"
        );
        let [decision]: [Decision; 1] = record.limits.try_into().unwrap();
        let charged = match plain {
            true => usage.total(),
            false => record.cost.nanousd.unwrap(),
        };
        assert_eq!(
            (decision.verdict, decision.charged, decision.after),
            (Verdict::Cut, charged, charged)
        );
    }
}

#[tokio::test]
async fn by_default_more_is_held_for_it() {
    let (reply, record, upstream) = streamed(
        "unit = \"tokens\"\nlimit = 2_000\nwindow = \"day\"",
        true,
        sse(chat_events(&[" word"; 40])),
    )
    .await;
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(
        upstream.request(0).await.head.all("accept-encoding"),
        ["gzip"]
    );
    assert_eq!(record.outcome, Outcome::Answered);
    let decision = &record.limits[0];
    assert_eq!(decision.verdict, Verdict::Admitted);
    // Nothing was known of the model, and three tokens of output were asked for.
    assert!(decision.reserved > 256 + 40, "{decision:?}");
}

#[tokio::test]
async fn an_answer_within_what_is_held_is_left_as_it_is() {
    let events = chat_events(&WORDS[..2]);
    let (reply, record, _upstream) = streamed(
        "unit = \"tokens\"\nlimit = 2_000\nwindow = \"day\"\non_overrun = \"cut\"",
        true,
        sse(events),
    )
    .await;
    assert!(reply.text().contains("\"finish_reason\":\"stop\""));
    assert_eq!(record.outcome, Outcome::Answered);
    assert_eq!(record.limits[0].verdict, Verdict::Admitted);
}

#[tokio::test]
async fn a_stream_that_announces_its_length_is_ended_too() {
    let whole = chat_events(&WORDS).concat();
    let answer = Answer::new(200)
        .header("content-type", "text/event-stream")
        .body(whole);
    let (reply, record, _upstream) = streamed(
        "unit = \"tokens\"\nlimit = 2_000\nwindow = \"day\"\non_overrun = \"cut\"",
        true,
        answer,
    )
    .await;
    let text = reply.text();
    assert!(text.contains(" two.") && !text.contains(" tri."), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(reply.header("content-length"), None);
    assert_eq!(record.outcome, Outcome::Overrun);
    assert_eq!(record.limits[0].verdict, Verdict::Cut);
}

#[tokio::test]
async fn a_stream_that_is_encoded_unasked_goes_on_and_the_record_says_so() {
    let (reply, record, _upstream) = streamed(
        "unit = \"tokens\"\nlimit = 2_000\nwindow = \"day\"\non_overrun = \"cut\"",
        true,
        sse(chat_events(&WORDS)).gzipped(),
    )
    .await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert_eq!(record.outcome, Outcome::Answered);
    let note = "no limit can end the answer: the provider encoded it unasked";
    assert!(
        record.notes.iter().any(|one| **one == *note),
        "{:?}",
        record.notes
    );
    // What it brought is paid all the same.
    assert_eq!(record.limits[0].charged, record.usage.unwrap().total());
}

#[tokio::test]
async fn a_leg_is_ended_as_every_other_request() {
    let upstream = Upstream::start([sse(chat_events(&WORDS))]).await;
    let settings = "[[gateways]]\nid = \"default\"\n[[gateways.limits]]\nid = \"rule\"\n\
                    unit = \"tokens\"\nlimit = 2_000\nwindow = \"day\"\non_overrun = \"cut\"\n";
    let gateway = Harness::with(settings, &upstream).await;
    let query = STREAM_PROMPT.replacen('{', r#"{"max_tokens":3,"#, 1);
    let leg = format!(
        r#"[{{"provider":"openai","endpoint":"chat/completions","headers":{{"authorization":"Bearer k","accept-encoding":"gzip"}},"query":{query}}}]"#
    );
    let reply = gateway.ask(&Ask::post("/v1/local/default", leg)).await;
    let text = reply.text();
    assert!(text.contains(" two.") && !text.contains(" tri."), "{text}");
    let sent = upstream.request(0).await;
    assert_eq!(sent.head.all("accept-encoding"), ["identity"]);
    assert_eq!(gateway.record().await.outcome, Outcome::Overrun);
}

/// Two who ask the same at once each pay for what they get, and each gets what it paid for.
#[tokio::test]
async fn a_stream_that_may_be_ended_is_not_shared() {
    let answer = sse(chat_events(&WORDS)).first(Step::Wait);
    let upstream = Upstream::start([answer]).await;
    let settings = "[[gateways]]\nid = \"default\"\n[[gateways.limits]]\nid = \"rule\"\n\
                    unit = \"tokens\"\nlimit = 2_000\nwindow = \"day\"\non_overrun = \"cut\"\n";
    let gateway = Harness::with(settings, &upstream).await;
    let ask = bounded(true).with("cf-aig-cache-ttl", "3600");
    let mut first = gateway.send(&ask).await;
    upstream.request(0).await;
    let mut second = gateway.send(&ask).await;
    upstream.request(1).await;
    upstream.go();
    upstream.go();
    for client in [&mut first, &mut second] {
        let reply = client.reply().await;
        let text = reply.text();
        assert!(text.contains(" two.") && !text.contains(" tri."), "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    for record in gateway.records(2).await {
        assert_eq!(record.outcome, Outcome::Overrun);
        let one = &record.limits[0];
        assert_eq!(
            (one.verdict, one.charged),
            (Verdict::Cut, record.usage.unwrap().total())
        );
    }
    // What was ended is not kept.
    let mut third = gateway.send(&ask).await;
    upstream.request(2).await;
    upstream.go();
    third.reply().await;
}

/// A dear target and a cheap one.
async fn two(rules: &str) -> (Harness, Upstream, Upstream) {
    let (sa, eu) = (
        Upstream::start([json(COMPLETION)]).await,
        Upstream::start([json(COMPLETION)]).await,
    );
    let toml = regions(&sa.url(), &eu.url(), CHAIN) + rules;
    (Harness::start(&toml).await, sa, eu)
}

fn verdicts(record: &Record) -> Vec<(&str, Verdict, u64)> {
    let limits = record.limits.iter();
    limits
        .map(|one| (&*one.rule, one.verdict, one.charged))
        .collect()
}

#[tokio::test]
async fn what_does_not_fit_goes_to_a_cheaper_target() {
    for (unit, limit) in [("requests", "1"), ("tokens", "20"), ("cost", "0.00005")] {
        let (gateway, sa, eu) = two(&format!(
            "[[gateways.limits]]\nid = \"dear\"\nunit = \"{unit}\"\nlimit = {limit}\n\
             window = \"day\"\nonly = {{ target = [\"azure-sa\"] }}\n\
             on_exceeded = \"fallback\"\nfallback_to = [\"azure-eu\"]\n\
             fallback_model = \"gpt-4o-mini\"\n\
             [[gateways.limits]]\nid = \"cheap\"\nunit = \"requests\"\nlimit = 1\n\
             window = \"day\"\nonly = {{ target = [\"azure-eu\"] }}\n"
        ))
        .await;
        assert_eq!(
            gateway.ask(&ask()).await.header("cf-aig-provider"),
            Some("azure-sa")
        );
        gateway.records(1).await;
        let reply = gateway.ask(&ask()).await;
        let told = ["cf-aig-provider", "cf-aig-step", "cf-aig-attempts"];
        let told = told.map(|name| reply.header(name).unwrap().to_owned());
        assert_eq!(
            (reply.status(), told),
            (200, ["azure-eu", "1", "1"].map(Into::into)),
            "{unit}"
        );
        let sent = eu.request(0).await;
        assert!(
            sent.head
                .target
                .starts_with("/eu/openai/deployments/mini-eu/chat/"),
            "{sent:?}"
        );
        assert_eq!(sent.head.all("api-key"), ["configured-key-of-eu"]);
        let record = gateway.records(2).await.remove(1);
        assert_eq!(
            verdicts(&record),
            [
                ("cheap", Verdict::Admitted, 1),
                ("dear", Verdict::Diverted, 0)
            ]
        );
        assert_eq!(record.target.as_deref(), Some("azure-eu"));
        assert!(
            record
                .notes
                .iter()
                .any(|note| note.contains("limit `dear` sent it to"))
        );
        // The limits there hold, too.
        let reply = gateway.ask(&ask()).await;
        assert_eq!(reply.status(), 429);
        assert!(reply.text().contains("rule 'cheap'"), "{}", reply.text());
        assert_eq!((sa.count(), eu.count()), (1, 1), "{unit}");
    }
}

#[tokio::test]
async fn two_limits_do_not_send_it_to_and_fro() {
    let rule = |here: &str, there: &str| {
        format!(
            "[[gateways.limits]]\nid = \"{here}\"\nunit = \"requests\"\nlimit = 1\n\
             window = \"day\"\nonly = {{ target = [\"{here}\"] }}\n\
             on_exceeded = \"fallback\"\nfallback_to = [\"{there}\"]\n\
             fallback_model = \"gpt-4o\"\n"
        )
    };
    let rules = rule("azure-sa", "azure-eu") + &rule("azure-eu", "azure-sa");
    let (gateway, sa, eu) = two(&rules).await;
    for (status, provider) in [(200, "azure-sa"), (200, "azure-eu"), (429, "azure-eu")] {
        let reply = gateway.ask(&ask()).await;
        let told = (reply.status(), reply.header("cf-aig-provider"));
        assert_eq!(told, (status, Some(provider)));
    }
    assert_eq!((sa.count(), eu.count()), (1, 1));
}

#[tokio::test]
async fn without_a_name_it_goes_along_the_chain_and_counts_there() {
    let (gateway, sa, eu) = two(
        "[[gateways.limits]]\nid = \"all\"\nunit = \"tokens\"\nlimit = 20\nwindow = \"day\"\n\
         on_exceeded = \"fallback\"\n",
    )
    .await;
    for at in 0..3 {
        assert_eq!(gateway.ask(&ask()).await.status(), 200);
        gateway.records(at + 1).await;
    }
    assert_eq!((sa.count(), eu.count()), (1, 2));
    assert!(
        eu.request(0)
            .await
            .head
            .target
            .contains("/deployments/chat-eu/")
    );
    let records = gateway.records(3).await;
    assert_eq!(
        verdicts(&records[2]),
        [
            ("all", Verdict::Diverted, 24),
            ("all", Verdict::Diverted, 0)
        ]
    );
    assert_eq!(records[2].limits[0].after, 3 * 24);
}

#[tokio::test]
async fn where_it_cannot_go_it_is_refused() {
    let (gateway, sa, eu) = two(
        "[[gateways.limits]]\nid = \"all\"\nunit = \"requests\"\nlimit = 1\nwindow = \"day\"\n\
         on_exceeded = \"fallback\"\nfallback_to = [\"azure-eu\"]\nfallback_model = \"other\"\n",
    )
    .await;
    assert_eq!(gateway.ask(&ask()).await.status(), 200);
    let reply = gateway.ask(&ask()).await;
    assert_eq!(
        (reply.status(), reply.header("cf-aig-source")),
        (429, Some("rate-limit"))
    );
    assert_eq!((sa.count(), eu.count()), (1, 0));
    let record = gateway.records(2).await.remove(1);
    assert_eq!(record.outcome, Outcome::Refused);
    assert_eq!(verdicts(&record), [("all", Verdict::Refused, 0)]);
    assert!(
        record
            .notes
            .iter()
            .any(|note| note.contains("has no `other` among its models"))
    );
}

#[tokio::test]
async fn a_deployment_is_the_same_in_any_case() {
    for (only, by) in [
        ("only = { model = [\"gpt-4o\"] }\n", ""),
        ("", "by = [\"model\"]\n"),
    ] {
        let (gateway, sa, _eu) = two(&format!(
            "[[gateways.limits]]\nid = \"one\"\nunit = \"requests\"\nlimit = 1\n\
             window = \"day\"\n{only}{by}"
        ))
        .await;
        for (name, status) in [("chat", 200), ("Chat", 429), ("CHAT", 429)] {
            let path = AZURE.replace("sa/chat/", &format!("sa/{name}/"));
            let reply = gateway
                .ask(&Ask::post(&path, PROMPT).with("api-key", "k"))
                .await;
            assert_eq!(reply.status(), status, "{name}");
        }
        // One that nobody mapped has a bucket of its own, one in all cases.
        if only.is_empty() {
            for (name, status) in [("other", 200), ("Other", 429)] {
                let path = AZURE.replace("sa/chat/", &format!("sa/{name}/"));
                let reply = gateway
                    .ask(&Ask::post(&path, PROMPT).with("api-key", "k"))
                    .await;
                assert_eq!(reply.status(), status, "{name}");
            }
        }
        let first = gateway.records(3).await.remove(0);
        assert_eq!(first.model.as_deref(), Some("gpt-4o-2024-08-06"));
        assert_eq!(sa.count(), if only.is_empty() { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_deployment_costs_the_same_in_any_case() {
    // What does not name its model is priced as the one that the target maps.
    let without = |body: &str| body.replacen("\"model\"", "\"other\"", 1);
    let (unasked, unnamed) = (without(PROMPT), without(COMPLETION));
    let sa = Upstream::start([json(unnamed.clone())]).await;
    let limit = "[[gateways.limits]]\nid = \"all\"\nunit = \"cost\"\nlimit = 5\nwindow = \"day\"\n";
    let toml = regions(&sa.url(), &sa.url(), CHAIN) + limit;
    let gateway = Harness::start(&toml).await;
    let mut costs = Vec::new();
    for (at, name) in ["chat", "Chat", "CHAT", "other"].into_iter().enumerate() {
        let path = AZURE.replace("sa/chat/", &format!("sa/{name}/"));
        let ask = Ask::post(&path, unasked.clone()).with("api-key", "k");
        assert_eq!(gateway.ask(&ask).await.status(), 200, "{name}");
        let record = gateway.records(at + 1).await.remove(at);
        assert_eq!(record.limits[0].charged, record.cost.nanousd.unwrap_or(0));
        costs.push(record.cost.nanousd);
    }
    assert!(costs[0].is_some_and(|cost| cost > 0), "{costs:?}");
    assert_eq!(costs, [costs[0], costs[0], costs[0], None]);
}
