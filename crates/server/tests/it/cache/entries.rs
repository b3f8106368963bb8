//! What is kept, for how long, and how it is given again.

use isango_testkit::answer::{Answer, json, status as failing};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::{COMPLETION, PROMPT, binary, multipart};
use isango_testkit::upstream::Upstream;
use isango_types::record::{CacheStatus, Outcome};
use isango_types::{Clock, CostStatus, Timestamp};

use super::{asking, counting, gateway, question, status};
use crate::harness::{CHAT, Harness, config, providers};

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
