//! What is kept, for whom, for how long, and how it is given again.

use std::time::Duration;

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse, status as failing};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, PROMPT, STREAM_PROMPT, binary, multipart};
use isango_testkit::upstream::Upstream;
use isango_types::record::{CacheStatus, Outcome};
use isango_types::{Clock, CostStatus, Timestamp};

use super::{asking, question, status};
use crate::harness::{CHAT, Harness, config, providers};
use crate::legs::Inbound;

/// A gateway `default` with these settings.
fn gateway(settings: &str) -> String {
    format!("[[gateways]]\nid = \"default\"\n{settings}\n")
}

/// A provider whose answers all differ.
async fn counting() -> Upstream {
    let answers = (0..64).map(|n| json(format!(r#"{{"n":{n},"usage":{{"prompt_tokens":1}}}}"#)));
    Upstream::start(answers).await
}

#[tokio::test]
async fn the_same_question_is_paid_once() {
    let answer = json(COMPLETION)
        .header("set-cookie", "sid=1")
        .header("x-request-id", "req-1")
        .header("x-ratelimit-remaining-requests", "9")
        .header("openai-version", "2020-10-01");
    let upstream = Upstream::start([answer]).await;
    let gateway = Harness::before(&upstream).await;
    let first = gateway.ask(&question()).await;
    assert_eq!((status(&first), first.header("age")), ("MISS", None));
    let again = gateway.ask(&question()).await;
    assert_eq!((again.status(), status(&again)), (200, "HIT"));
    assert_eq!(again.header("age"), Some("0"));
    assert_eq!(again.text(), COMPLETION);
    assert_eq!(again.header("content-type"), Some("application/json"));
    let length = COMPLETION.len().to_string();
    assert_eq!(again.header("content-length"), Some(&*length));
    assert_eq!(again.header("openai-version"), Some("2020-10-01"));
    assert_eq!(again.header("cf-aig-attempts"), Some("0"));
    for of_one_exchange in [
        "set-cookie",
        "x-request-id",
        "x-ratelimit-remaining-requests",
    ] {
        assert!(first.header(of_one_exchange).is_some());
        assert_eq!(again.header(of_one_exchange), None, "{of_one_exchange}");
    }
    assert_eq!(upstream.count(), 1);
    let [paid, free] = gateway.records(2).await.try_into().unwrap();
    let filled = paid.cache.unwrap();
    assert_eq!(filled.status, CacheStatus::Miss);
    assert_eq!(filled.fill.as_deref(), Some("stored"));
    let hit = free.cache.unwrap();
    assert_eq!(
        (hit.status, hit.filled_by),
        (CacheStatus::Hit, Some(paid.id))
    );
    assert_eq!((hit.age_s, hit.key), (Some(0), filled.key));
    let saved = hit.saved.unwrap();
    assert_eq!(
        (saved.usage, saved.nanousd),
        (paid.usage, paid.cost.nanousd)
    );
    assert!(paid.cost.nanousd.is_some_and(|cost| cost > 0));
    assert_eq!(free.usage, None);
    assert_eq!(
        (free.cost.status, free.cost.nanousd),
        (CostStatus::Free, Some(0))
    );
    assert_eq!((free.outcome, free.attempts.len()), (Outcome::Answered, 0));
    assert_eq!(free.model, paid.model);
    assert_eq!(free.response.body.unwrap().as_str(), COMPLETION);
}

#[tokio::test]
async fn every_answer_tells_what_the_cache_did() {
    let upstream = counting().await;
    let gateway = Harness::before(&upstream).await;
    let plain = Ask::post(CHAT, PROMPT).with("authorization", "Bearer sk-one");
    assert_eq!(status(&gateway.ask(&plain).await), "BYPASS");
    let get = Ask::get("/v1/local/default/openai/models").with("authorization", "Bearer sk-one");
    assert_eq!(status(&gateway.ask(&get).await), "BYPASS");
    let wrong = gateway.ask(&Ask::post("/v1/local/nowhere/x/y", "{}")).await;
    assert_eq!((wrong.status(), status(&wrong)), (400, "BYPASS"));
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
    let records = gateway.records(4).await;
    let used: Vec<bool> = records
        .iter()
        .map(|record| record.cache.is_some())
        .collect();
    assert_eq!(used, [false, false, false, true]);
}

#[tokio::test]
async fn headers_and_the_gateway_opt_in_and_out() {
    let upstream = counting().await;
    let settings = gateway("cache_ttl = 600");
    let gateway = Harness::with(&settings, &upstream).await;
    let mut client = Client::connect(gateway.addr).await;
    let plain = Ask::post(CHAT, PROMPT).with("authorization", "Bearer sk-one");
    let mut check = async |headers: &[(&str, &str)], expected: &str, n: u64| {
        let ask = headers
            .iter()
            .fold(plain.clone(), |ask, (name, value)| ask.with(name, value));
        let reply = client.ask(&ask).await;
        assert_eq!(status(&reply), expected, "{headers:?}");
        assert_eq!(reply.json()["n"], n, "{headers:?}");
    };
    check(&[], "MISS", 0).await;
    check(&[], "HIT", 0).await;
    check(&[("cf-aig-cache-ttl", "60")], "HIT", 0).await;
    check(&[("cf-aig-cache-ttl", "0")], "BYPASS", 1).await;
    check(&[("cf-cache-ttl", "0")], "BYPASS", 2).await;
    check(
        &[("cf-cache-ttl", "0"), ("cf-aig-cache-ttl", "60")],
        "HIT",
        0,
    )
    .await;
    // A new answer takes the place of the old one.
    check(&[("cf-aig-skip-cache", "true")], "BYPASS", 3).await;
    check(&[], "HIT", 3).await;
    check(&[("cf-skip-cache", "true")], "BYPASS", 4).await;
    check(&[("cf-aig-skip-cache", "false")], "HIT", 4).await;
    check(&[("cf-aig-cache-ttl", "soon")], "HIT", 4).await;
    let noted = gateway.records(11).await.remove(10);
    assert_eq!(
        *noted.notes,
        ["cf-aig-cache-ttl was ignored: it must be a whole number of seconds".into()]
    );
}

#[tokio::test]
async fn a_time_to_live_beyond_its_bounds_is_taken_for_the_nearest() {
    let upstream = counting().await;
    let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
    let gateway = Harness::start_config(&config(&providers(&upstream)), clock.clone());
    let ask = Ask::post(CHAT, PROMPT).with("authorization", "Bearer sk-one");
    let short = ask.clone().with("cf-aig-cache-ttl", "1");
    assert_eq!(status(&gateway.ask(&short).await), "MISS");
    let at = |seconds: u64| {
        clock.set(Timestamp::from_micros(
            (1_795_363_200 + seconds) * 1_000_000,
        ))
    };
    at(59);
    let hit = gateway.ask(&short).await;
    assert_eq!((status(&hit), hit.header("age")), ("HIT", Some("59")));
    at(60);
    assert_eq!(status(&gateway.ask(&short).await), "MISS");
    let records = gateway.records(3).await;
    let note = "cf-aig-cache-ttl was taken for 60 s instead of 1 s: it is 0 or 60 to 2592000 s";
    assert_eq!(*records[0].notes, [note.into()]);
    let reason = records[2].cache.as_ref().unwrap().reason.clone();
    assert_eq!(reason.as_deref(), Some("it had expired"));
}

#[tokio::test]
async fn an_entry_is_not_given_to_a_request_that_wants_a_younger_one() {
    let upstream = counting().await;
    let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
    let gateway = Harness::start_config(&config(&providers(&upstream)), clock.clone());
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
    clock.set(Timestamp::from_micros(1_795_363_300_000_000));
    assert_eq!(status(&gateway.ask(&question()).await), "HIT");
    let plain = Ask::post(CHAT, PROMPT).with("authorization", "Bearer sk-one");
    let younger = plain.with("cf-aig-cache-ttl", "60");
    assert_eq!(status(&gateway.ask(&younger).await), "MISS");
}

#[tokio::test]
async fn nothing_is_shared_between_questions_that_differ_in_anything() {
    let upstream = counting().await;
    let url = upstream.url();
    let settings = "[[gateways]]\nid = \"other\"\n";
    let gateway = Harness::with(settings, &upstream).await;
    let ask = |path: &str, key: &str| {
        Ask::post(path, PROMPT)
            .with("authorization", key)
            .with("cf-aig-cache-ttl", "3600")
    };
    let one = "Bearer sk-one";
    let base = ask(CHAT, one);
    assert_eq!(status(&gateway.ask(&base).await), "MISS");
    let mut others = vec![
        ask("/v1/local/other/openai/chat/completions", one),
        ask("/v1/else/default/openai/chat/completions", one),
        ask("/v1/local/default/openai/chat/completions?a=1", one),
        ask("/v1/local/default/openai/chat/completions?a=2", one),
        ask("/v1/local/default/openai/completions", one),
        ask(CHAT, "Bearer sk-two"),
        asking(&PROMPT.replace("isiZulu", "isiXhosa")),
        asking(&PROMPT.replace("gpt-4o", "gpt-4.1")),
        asking(&format!("{PROMPT} ")),
    ];
    for (name, value) in [
        ("cf-aig-cache-key", "acme"),
        ("cf-aig-cache-key", "globex"),
        ("openai-organization", "org-1"),
        ("openai-organization", "org-2"),
        ("accept", "text/event-stream"),
        ("cookie", "a=b"),
        ("x-of-somebody-else", "1"),
    ] {
        others.push(base.clone().with(name, value));
    }
    let azure = |resource: &str, key: &str| {
        let path = format!("/v1/local/default/azure-openai/{resource}/d/chat/completions");
        Ask::post(&path, PROMPT)
            .with("api-key", key)
            .with("cf-aig-cache-ttl", "3600")
    };
    others.extend([azure("one", "k1"), azure("two", "k1"), azure("one", "k2")]);
    for (n, other) in others.iter().enumerate() {
        let reply = gateway.ask(other).await;
        assert_eq!(status(&reply), "MISS", "{other:?}");
        assert_eq!(reply.json()["n"], n + 1, "{url} {other:?}");
    }
    for (n, other) in std::iter::once(&base).chain(&others).enumerate() {
        let reply = gateway.ask(other).await;
        assert_eq!((status(&reply), &reply.json()["n"]), ("HIT", &n.into()));
    }
    // What is about the way does not matter.
    for (name, value) in [
        ("user-agent", "another"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("x-ms-client-request-id", "1"),
        ("cf-aig-metadata", "{\"tenantId\":\"acme\"}"),
        ("cf-aig-event-id", "e1"),
    ] {
        let reply = gateway.ask(&base.clone().with(name, value)).await;
        assert_eq!((status(&reply), &reply.json()["n"]), ("HIT", &0.into()));
    }
}

#[tokio::test]
async fn in_replace_mode_the_key_stands_for_the_question() {
    let upstream = counting().await;
    let settings = gateway("cache_key_mode = \"replace\"");
    let gateway = Harness::with(&settings, &upstream).await;
    let under = |body: &str, credential: &str, key: &str| {
        Ask::post(CHAT, body.to_owned())
            .with("authorization", credential)
            .with("cf-aig-cache-key", key)
    };
    for (ask, expected, n) in [
        (under(PROMPT, "Bearer a", "k"), "MISS", 0),
        (under("{}", "Bearer b", "k"), "HIT", 0),
        (under(PROMPT, "Bearer a", "l"), "MISS", 1),
        (
            Ask::post(CHAT, PROMPT).with("authorization", "Bearer a"),
            "BYPASS",
            2,
        ),
        (question(), "MISS", 3),
    ] {
        let reply = gateway.ask(&ask).await;
        assert_eq!((status(&reply), &reply.json()["n"]), (expected, &n.into()));
    }
}

#[tokio::test]
async fn a_gateway_can_demand_a_scope() {
    let upstream = counting().await;
    let token = |name: &str, secret: &str, tenant: &str| {
        format!(
            "[[tokens]]\nname = \"{name}\"\nsecret = \"{secret}\"\n\
             metadata = {{ tenantId = \"{tenant}\" }}\n"
        )
    };
    let settings = gateway("cache_ttl = 600\ncache_scope = \"metadata.tenantId\"")
        + &token("a", "isg_aaaaaaaaaaaaaaaa", "acme")
        + &token("g", "isg_gggggggggggggggg", "globex");
    let gateway = Harness::with(&settings, &upstream).await;
    let plain = Ask::post(CHAT, PROMPT).with("authorization", "Bearer sk-one");
    let as_tenant = |tenant: &str| {
        let metadata = format!("{{\"tenantId\":\"{tenant}\"}}");
        plain.clone().with("cf-aig-metadata", &metadata)
    };
    let with_token = |token: &str| as_tenant("acme").with("cf-aig-authorization", token);
    for (ask, expected) in [
        (plain.clone(), "BYPASS"),
        (
            plain.clone().with("cf-aig-metadata", "{\"userId\":1}"),
            "BYPASS",
        ),
        (as_tenant("acme"), "MISS"),
        (as_tenant("acme"), "HIT"),
        (as_tenant("globex"), "MISS"),
        // What a token is bound to wins over what is claimed.
        (with_token("isg_gggggggggggggggg"), "MISS"),
        (with_token("isg_gggggggggggggggg"), "HIT"),
        (with_token("isg_aaaaaaaaaaaaaaaa"), "MISS"),
    ] {
        assert_eq!(status(&gateway.ask(&ask).await), expected, "{ask:?}");
    }
    let bypassed = gateway.records(8).await.remove(0).cache.unwrap();
    assert_eq!(
        bypassed.reason.as_deref(),
        Some("the request does not name what cache_scope asks for")
    );
}

#[tokio::test]
async fn what_is_not_whole_and_final_is_not_given_again() {
    let part = || Bytes::from(COMPLETION);
    for (answer, fill) in [
        (failing(500), "its status is not one that is kept"),
        (failing(404), "its status is not one that is kept"),
        (failing(429), "its status is not one that is kept"),
        (
            Answer::new(202).body("{}"),
            "its status is not one that is kept",
        ),
        (
            Answer::new(206).body("{}"),
            "its status is not one that is kept",
        ),
        (
            json(COMPLETION)
                .cut_after(1, Step::Close)
                .announcing(10_000),
            "the provider broke it off",
        ),
        (
            sse([part(), part()]).cut_after(1, Step::Reset),
            "the provider broke it off",
        ),
        (sse([part()]).trailers(&[("x-a", "b")]), "it has trailers"),
        (json(binary(3_000, 1)), "it is larger than the cache keeps"),
        (sse([binary(3_000, 1)]), "it is larger than the cache keeps"),
        (
            json("{\"key\":\"sk-secret-of-mine\"}"),
            "it repeats a credential",
        ),
    ] {
        let upstream = Upstream::start([answer.clone(), json(COMPLETION)]).await;
        let settings = "[cache]\nmax_entry_bytes = 2000\n";
        let gateway = Harness::with(settings, &upstream).await;
        let ask = Ask::post(CHAT, PROMPT)
            .with("authorization", "Bearer sk-secret-of-mine")
            .with("cf-aig-cache-ttl", "3600");
        let first = gateway.ask(&ask).await;
        assert_eq!(status(&first), "MISS");
        let then = gateway.ask(&ask).await;
        assert_eq!(
            (status(&then), then.text()),
            ("MISS", COMPLETION),
            "{answer:?}"
        );
        assert_eq!(status(&gateway.ask(&ask).await), "HIT");
        let first = gateway.records(1).await.remove(0);
        assert_eq!(
            first.cache.unwrap().fill.as_deref(),
            Some(fill),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_the_client_left_is_not_given_again() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let upstream = Upstream::start([sse(events.clone()).stepwise(), json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut leaving = Inbound::Http1.start(&gateway, &question()).await;
    upstream.go();
    leaving.bytes(events[0].len()).await;
    drop(leaving);
    upstream.given_up(0).await;
    let record = gateway.record().await;
    assert_eq!(record.outcome, Outcome::ClientLeft);
    assert_eq!(
        record.cache.unwrap().fill.as_deref(),
        Some("the client left")
    );
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
}

#[tokio::test]
async fn a_stream_is_given_again_as_a_stream_with_its_frames() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    for inbound in [Inbound::Http1, Inbound::Http2] {
        let upstream = Upstream::start([sse(events.clone())]).await;
        let gateway = Harness::before(&upstream).await;
        // The gateway asks for the usage itself, and takes its frame out, both times.
        let usage = events.len() - 2;
        let told: Vec<&Bytes> = events
            .iter()
            .enumerate()
            .filter_map(|(at, event)| (at != usage).then_some(event))
            .collect();
        for expected in ["MISS", "HIT", "HIT"] {
            let answer = inbound.start(&gateway, &asking(STREAM_PROMPT)).await;
            let head = answer.head().clone();
            assert_eq!(head.header("cf-aig-cache-status"), Some(expected));
            assert_eq!(head.header("content-length"), None);
            let kind = Some("text/event-stream; charset=utf-8");
            assert_eq!(head.header("content-type"), kind);
            let (body, end) = answer.rest().await;
            assert_eq!(
                (body, end),
                (
                    told.iter().copied().cloned().collect::<Vec<_>>().concat(),
                    End::Whole
                )
            );
        }
        assert_eq!(upstream.count(), 1);
        let records = gateway.records(3).await;
        assert_eq!(records[0].usage.unwrap().total(), 22);
        let saved = records[2].cache.as_ref().unwrap().saved.unwrap();
        assert_eq!(saved.usage, records[0].usage);
        assert!(records[2].stream);
        assert_eq!(records[2].response.events, records[0].response.events);
    }
}

#[tokio::test]
async fn the_frames_of_a_kept_stream_are_those_that_came() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let ask = asking(r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#);
    let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
    let gateway = Harness::before(&upstream).await;
    let mut reading = Inbound::Http1.start(&gateway, &ask).await;
    for event in &events {
        upstream.go();
        assert_eq!(reading.piece().await.unwrap(), event);
    }
    assert_eq!(reading.rest().await.1, End::Whole);
    let mut client = Client::connect(gateway.addr).await;
    client.send_ask(&ask.with("connection", "close")).await;
    let raw = String::from_utf8(client.all().await).unwrap();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("cf-aig-cache-status: HIT"), "{head}");
    let chunk = |event: &Bytes| {
        let text = std::str::from_utf8(event).unwrap();
        format!("{:X}\r\n{text}\r\n", event.len())
    };
    let chunks: String = events.iter().map(chunk).collect();
    assert_eq!(body, chunks + "0\r\n\r\n");
}

#[tokio::test]
async fn a_stream_can_be_given_again_at_its_own_pace() {
    const PAUSE: Duration = Duration::from_millis(150);
    let [one, two] = ["data: 1\n\n", "data: [DONE]\n\n"].map(Bytes::from);
    let answer = sse([one.clone()])
        .then(Step::Pause(PAUSE))
        .then(Step::Data(two));
    let upstream = Upstream::start([answer]).await;
    let settings = gateway("cache_replay = \"recorded\"");
    let gateway = Harness::with(&settings, &upstream).await;
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
    let mut again = Inbound::Http1.start(&gateway, &question()).await;
    assert_eq!(again.head().header("cf-aig-cache-status"), Some("HIT"));
    again.bytes(one.len()).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(again.rest().await.1, End::Whole);
    assert!(begun.elapsed() > PAUSE / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_compressed_answer_is_for_clients_that_read_it() {
    let plain = json(COMPLETION);
    let upstream = Upstream::start([plain.clone().gzipped(), plain]).await;
    let gateway = Harness::before(&upstream).await;
    let reads = |codings: &str| question().with("accept-encoding", codings);
    let packed = gateway.ask(&reads("gzip")).await;
    assert_eq!(status(&packed), "MISS");
    let again = gateway.ask(&reads("br, gzip;q=0.5")).await;
    assert_eq!(
        (status(&again), again.header("content-encoding")),
        ("HIT", Some("gzip"))
    );
    assert_eq!(again.body, packed.body);
    // Who does not read it is asked for anew, and then all have one that everybody reads.
    let other = gateway.ask(&question()).await;
    assert_eq!((status(&other), other.text()), ("MISS", COMPLETION));
    for ask in [question(), reads("gzip"), reads("br")] {
        let reply = gateway.ask(&ask).await;
        assert_eq!((status(&reply), reply.text()), ("HIT", COMPLETION));
    }
    let reason = gateway.records(3).await.remove(2).cache.unwrap().reason;
    let expected = "it is kept in an encoding that the request does not accept";
    assert_eq!(reason.as_deref(), Some(expected));
}

#[tokio::test]
async fn answers_of_any_kind_are_kept() {
    let picture = Answer::new(200)
        .header("content-type", "image/png")
        .body(binary(50_000, 3));
    let speech = Answer::new(200)
        .header("content-type", "audio/mpeg")
        .chunked([binary(50_000, 4)]);
    let empty = Answer::new(200).header("content-type", "text/plain");
    for answer in [
        picture,
        speech,
        empty,
        Answer::new(201).body("{}"),
        Answer::new(204),
    ] {
        let upstream = Upstream::start([answer.clone(), failing(500)]).await;
        let gateway = Harness::before(&upstream).await;
        let first = gateway.ask(&question()).await;
        let again = gateway.ask(&question()).await;
        assert_eq!(status(&again), "HIT", "{answer:?}");
        assert_eq!((again.status(), again.body), (first.status(), first.body));
        assert_eq!(again.end, End::Whole);
    }
}

#[tokio::test]
async fn a_body_of_any_kind_makes_a_question_up_to_its_limit() {
    let upstream = counting().await;
    let gateway = Harness::before(&upstream).await;
    let audio = |bytes| {
        let (kind, pieces) = multipart(bytes);
        Ask::new("POST", "/v1/local/default/openai/audio/transcriptions")
            .with("authorization", "Bearer sk-one")
            .with("cf-aig-cache-ttl", "3600")
            .with("content-type", &kind)
            .chunked(pieces)
    };
    for (ask, expected) in [
        (audio(100_000), "MISS"),
        (audio(100_000), "HIT"),
        (audio(100_001), "MISS"),
        (audio(6 << 20), "MISS"),
        (audio(6 << 20), "HIT"),
        (audio(26 << 20), "BYPASS"),
    ] {
        assert_eq!(status(&gateway.ask(&ask).await), expected);
    }
    let reason = gateway.records(6).await.remove(5).cache.unwrap().reason;
    assert_eq!(reason.as_deref(), Some("its body is larger than 25 MiB"));
}

#[tokio::test]
async fn a_miss_tells_which_question_was_nearest_and_in_what_it_differed() {
    let upstream = counting().await;
    let gateway = Harness::before(&upstream).await;
    gateway.ask(&question()).await;
    gateway.ask(&question().with("accept", "text/plain")).await;
    gateway.ask(&asking("{\"model\":\"gpt-4o\"}")).await;
    let [first, second, third] = gateway.records(3).await.try_into().unwrap();
    let near = |cache: &isango_types::record::CacheUse| {
        (
            cache.nearest,
            cache
                .differs
                .iter()
                .map(|part| part.to_string())
                .collect::<Vec<_>>(),
        )
    };
    let of = |record: isango_types::Record| near(&record.cache.unwrap());
    let id = first.id;
    assert_eq!(of(first), (None, vec![]));
    assert_eq!(of(second), (Some(id), vec!["header accept".to_owned()]));
    assert_eq!(of(third), (Some(id), vec!["body".to_owned()]));
}

#[tokio::test]
async fn a_provider_that_fails_is_stood_in_for_where_the_gateway_wants_it() {
    let answers = [
        json(COMPLETION),
        failing(503),
        failing(429),
        Answer::raw([Step::Drop]),
    ];
    let upstream = Upstream::start(answers).await;
    let toml = gateway("cache_stale_if_error = \"1h\"") + &providers(&upstream);
    let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
    let gateway = Harness::start_config(&config(&toml), clock.clone());
    let at = |seconds: u64| {
        clock.set(Timestamp::from_micros(
            (1_795_363_200 + seconds) * 1_000_000,
        ))
    };
    assert_eq!(status(&gateway.ask(&question()).await), "MISS");
    at(3_700);
    let stale = gateway.ask(&question()).await;
    assert_eq!(
        (stale.status(), status(&stale), stale.text()),
        (200, "STALE", COMPLETION)
    );
    assert_eq!(stale.header("age"), Some("3700"));
    // What the caller did is the caller's to hear.
    let busy = gateway.ask(&question()).await;
    assert_eq!((busy.status(), status(&busy)), (429, "MISS"));
    let stale = gateway.ask(&question()).await;
    assert_eq!((stale.status(), status(&stale)), (200, "STALE"));
    at(7_200);
    let late = gateway.ask(&question()).await;
    assert_eq!((late.status(), status(&late)), (502, "MISS"));
    let mut records = gateway.records(5).await;
    // Those of one moment are in no order.
    records.retain(|record| record.attempts[0].status == Some(503));
    let stale = records.remove(0);
    assert_eq!(stale.cache.unwrap().status, CacheStatus::Stale);
    assert_eq!((stale.cost.nanousd, stale.error), (Some(0), None));
}

#[tokio::test]
async fn without_that_wish_a_failure_is_told() {
    let upstream = Upstream::start([json(COMPLETION), failing(503)]).await;
    let clock = Clock::manual(Timestamp::from_micros(1_795_363_200_000_000));
    let gateway = Harness::start_config(&config(&providers(&upstream)), clock.clone());
    gateway.ask(&question()).await;
    clock.set(Timestamp::from_micros(1_795_366_900_000_000));
    let told = gateway.ask(&question()).await;
    assert_eq!((told.status(), status(&told)), (503, "MISS"));
}
