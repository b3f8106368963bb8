//! Identical questions at once: one call to the provider, whoever leaves, stalls or fails.

use bytes::Bytes;
use isango_testkit::answer::{Answer, Step, json, sse, status as failing};
use isango_testkit::client::{Ask, Client, End, Reply};
use isango_testkit::fixtures::sse::chat_events;
use isango_testkit::fixtures::{COMPLETION, binary};
use isango_testkit::upstream::Upstream;
use tokio::task::JoinSet;

use super::{PURGER, asking, purge, question, status, under_way};
use crate::harness::Harness;
use crate::legs::Inbound;

const MANY: usize = 64;

/// Asks `count` times at once; the replies in any order.
fn at_once(gateway: &Harness, ask: &Ask, count: usize) -> JoinSet<Reply> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let (addr, ask) = (gateway.addr, ask.clone());
        asking.spawn(async move { isango_testkit::client::ask(addr, &ask).await });
    }
    asking
}

async fn check_one_call(answer: Answer, body: &[u8]) {
    let upstream = Upstream::start([answer.first(Step::Wait), failing(500)]).await;
    let gateway = Harness::before(&upstream).await;
    let asking = at_once(&gateway, &question(), MANY);
    under_way(&gateway, MANY).await;
    upstream.go();
    let replies = asking.join_all().await;
    assert_eq!(upstream.count(), 1);
    for reply in &replies {
        assert_eq!(
            (reply.status(), &*reply.body, reply.end),
            (200, body, End::Whole)
        );
    }
    let count = |wanted: &str| {
        replies
            .iter()
            .filter(|reply| status(reply) == wanted)
            .count()
    };
    assert_eq!((count("MISS"), count("HIT")), (1, MANY - 1));
    let records = gateway.records(MANY).await;
    let payer = records
        .iter()
        .find(|record| !record.attempts.is_empty())
        .unwrap();
    for record in records.iter().filter(|record| record.id != payer.id) {
        let cache = record.cache.as_ref().unwrap();
        assert_eq!(cache.filled_by, Some(payer.id));
        assert_eq!(record.cost.nanousd, Some(0));
        assert_eq!(cache.saved.unwrap().usage, payer.usage);
    }
    let joined = records
        .iter()
        .filter(|record| record.cache.as_ref().unwrap().joined);
    assert!(joined.count() > 0, "all of them came when it was over");
}

#[tokio::test]
async fn identical_questions_at_once_cost_one_call() {
    check_one_call(json(COMPLETION), COMPLETION.as_bytes()).await;
}

#[tokio::test]
async fn identical_streams_at_once_cost_one_call() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    check_one_call(sse(events.clone()), &events.concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_stream_on_several_threads_is_the_same_for_all() {
    let words = vec!["word"; 500];
    let events = chat_events(&words);
    check_one_call(sse(events.clone()), &events.concat()).await;
}

#[tokio::test]
async fn questions_of_different_scopes_are_not_joined() {
    let upstream = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let gateway = Harness::before(&upstream).await;
    let mut asking = JoinSet::new();
    for scope in ["acme", "globex"] {
        let ask = question().with("cf-aig-cache-key", scope);
        let addr = gateway.addr;
        asking.spawn(async move { isango_testkit::client::ask(addr, &ask).await });
    }
    upstream.request(1).await;
    (0..2).for_each(|_| upstream.go());
    for reply in asking.join_all().await {
        assert_eq!(status(&reply), "MISS");
    }
}

#[tokio::test]
async fn a_follower_gets_the_running_answer_from_its_first_byte_as_it_comes() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
    let gateway = Harness::before(&upstream).await;
    let mut first = Inbound::Http1.start(&gateway, &question()).await;
    let mut others = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let mut joining = Inbound::Http2.start(&gateway, &question()).await;
        assert_eq!(joining.head().header("cf-aig-cache-status"), Some("HIT"));
        let so_far = events[..at].concat();
        assert_eq!(joining.bytes(so_far.len()).await, so_far);
        others.push(joining);
        upstream.go();
        assert_eq!(first.bytes(event.len()).await, event[..]);
        for other in &mut others {
            assert_eq!(other.bytes(event.len()).await, event[..]);
        }
    }
    for answer in std::iter::once(first).chain(others) {
        assert_eq!(answer.rest().await, (Vec::new(), End::Whole));
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn the_first_client_may_leave_at_any_byte() {
    let events = chat_events(&["Sa", "wu", "bona"]);
    for leaves_after in 0..events.len() {
        let upstream = Upstream::start([sse(events.clone()).stepwise()]).await;
        let gateway = Harness::before(&upstream).await;
        let mut first = Inbound::Http1.start(&gateway, &question()).await;
        let mut others = [
            Inbound::Http1.start(&gateway, &question()).await,
            Inbound::Http2.start(&gateway, &question()).await,
        ];
        for event in &events[..leaves_after] {
            upstream.go();
            assert_eq!(first.bytes(event.len()).await, event[..]);
        }
        drop(first);
        under_way(&gateway, 2).await;
        for _ in leaves_after..events.len() {
            upstream.go();
        }
        for other in &mut others {
            assert_eq!(other.bytes(usize::MAX).await, events.concat());
        }
        assert_eq!(
            status(&gateway.ask(&question()).await),
            "HIT",
            "{leaves_after}"
        );
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn a_client_that_stalls_holds_nobody() {
    let part = binary(1 << 20, 5);
    let parts: Vec<Bytes> = vec![part; 6];
    let upstream = Upstream::start([Answer::new(200).chunked(parts.clone())]).await;
    let gateway = Harness::before(&upstream).await;
    // It asks first, and reads nothing.
    let mut stalled = Client::connect_narrow(gateway.addr, 4_096).await;
    stalled.send_ask(&question()).await;
    upstream.request(0).await;
    let reply = gateway.ask(&question()).await;
    assert_eq!((reply.body.len(), reply.end), (6 << 20, End::Whole));
    let late = stalled.reply().await;
    assert_eq!((late.body.len(), late.end), (6 << 20, End::Whole));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn when_the_first_fails_another_asks_for_the_rest() {
    for failed in [failing(500), failing(429), Answer::raw([Step::Reset])] {
        let failed = failed.first(Step::Wait);
        let upstream = Upstream::start([failed, json(COMPLETION).first(Step::Wait)]).await;
        let gateway = Harness::before(&upstream).await;
        let asking = at_once(&gateway, &question(), 8);
        under_way(&gateway, 8).await;
        upstream.go();
        upstream.request(1).await;
        upstream.go();
        let replies = asking.join_all().await;
        assert_eq!(upstream.count(), 2);
        let whole = replies.iter().filter(|reply| reply.text() == COMPLETION);
        assert_eq!(whole.count(), 7);
    }
}

#[tokio::test]
async fn when_the_first_leaves_before_the_answer_begins_another_asks() {
    let answer = json(COMPLETION).first(Step::Wait);
    let upstream = Upstream::start([answer.clone(), answer]).await;
    let gateway = Harness::before(&upstream).await;
    let mut first = Client::connect(gateway.addr).await;
    first.send_ask(&question()).await;
    upstream.request(0).await;
    let asking = at_once(&gateway, &question(), 8);
    under_way(&gateway, 9).await;
    drop(first);
    upstream.given_up(0).await;
    upstream.request(1).await;
    (0..2).for_each(|_| upstream.go());
    for reply in asking.join_all().await {
        assert_eq!(reply.text(), COMPLETION);
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_not_asked_one_after_the_other_for_ever() {
    let upstream = Upstream::start([failing(503)]).await;
    let gateway = Harness::before(&upstream).await;
    let replies = at_once(&gateway, &question(), 16).join_all().await;
    assert!(replies.iter().all(|reply| reply.status() == 503));
    assert_eq!(upstream.count(), 16);
}

#[tokio::test]
async fn a_follower_with_a_shorter_deadline_leaves_on_its_own() {
    let upstream = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let gateway = Harness::before(&upstream).await;
    let first = at_once(&gateway, &question(), 1);
    upstream.request(0).await;
    let hurried = question().with("cf-aig-request-timeout", "50");
    let reply = gateway.ask(&hurried).await;
    assert_eq!(
        (reply.status(), &reply.json()["internalCode"]),
        (504, &3015.into())
    );
    upstream.go();
    let reply = first.join_all().await.remove(0);
    assert_eq!((reply.text(), upstream.count()), (COMPLETION, 1));
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_all_and_asked_anew_by_the_next() {
    let events = chat_events(&["Sa", "wu"]);
    let cut = sse(events.clone())
        .stepwise()
        .cut_after(2, Step::Wait)
        .then(Step::Reset);
    let upstream = Upstream::start([cut, json(COMPLETION)]).await;
    let gateway = Harness::before(&upstream).await;
    let first = Inbound::Http1.start(&gateway, &question()).await;
    let other = Inbound::Http1.start(&gateway, &question()).await;
    (0..3).for_each(|_| upstream.go());
    let half = events[..2].concat();
    for answer in [first, other] {
        let (body, end) = answer.rest().await;
        assert_eq!((body, end), (half.clone(), End::Cut));
    }
    assert_eq!(gateway.ask(&question()).await.text(), COMPLETION);
}

#[tokio::test]
async fn a_request_for_a_new_answer_joins_nobody() {
    let upstream = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let gateway = Harness::before(&upstream).await;
    let first = at_once(&gateway, &question(), 1);
    upstream.request(0).await;
    let anew = asking(isango_testkit::fixtures::PROMPT).with("cf-aig-skip-cache", "true");
    let anew = at_once(&gateway, &anew, 1);
    upstream.request(1).await;
    (0..2).for_each(|_| upstream.go());
    assert_eq!(status(&anew.join_all().await[0]), "BYPASS");
    assert_eq!(status(&first.join_all().await[0]), "MISS");
}

/// Two targets of the gateway `default`.
fn targets(first: &Upstream, second: &Upstream) -> String {
    let target = |name: &str, upstream: &Upstream| {
        format!(
            "[[gateways.targets]]\nname = \"{name}\"\nprovider = \"openai\"\n\
             credential = \"sk-of-{name}\"\nbase_url = \"{}/v1\"\n",
            upstream.url()
        )
    };
    format!(
        "[[gateways]]\nid = \"default\"\n{}{}",
        target("one", first),
        target("two", second)
    )
}

/// The second is asked where the first fails.
fn chained(first: &Upstream, second: &Upstream) -> String {
    let chain = "[gateways.fallback]\n\"one\" = [\"two\"]\n";
    targets(first, second) + chain
}

#[tokio::test]
async fn what_another_target_answered_is_shared_but_not_kept() {
    let broken = Upstream::start([failing(503)]).await;
    let other = Upstream::start([json(COMPLETION).first(Step::Wait)]).await;
    let gateway = Harness::start(&chained(&broken, &other)).await;
    let ask = Ask::post(crate::harness::CHAT, isango_testkit::fixtures::PROMPT)
        .with("cf-aig-cache-ttl", "3600");
    let asking = at_once(&gateway, &ask, 4);
    other.request(0).await;
    under_way(&gateway, 4).await;
    other.go();
    for reply in asking.join_all().await {
        assert_eq!((reply.status(), reply.text()), (200, COMPLETION));
    }
    assert_eq!((broken.count(), other.count()), (1, 1));
    let payer = gateway.records(4).await;
    let payer = payer.iter().find(|record| !record.attempts.is_empty());
    let fill = payer.unwrap().cache.as_ref().unwrap().fill.as_deref();
    assert_eq!(fill, Some("another target gave it"));
    other.go();
    assert_eq!(status(&gateway.ask(&ask).await), "MISS");
}

#[tokio::test]
async fn a_follower_that_may_retry_asks_itself_when_it_has_waited_as_long_as_for_one_send() {
    let upstream = Upstream::start([
        json(COMPLETION).first(Step::Wait),
        json("{\"of\":\"another\"}"),
    ])
    .await;
    let gateway = Harness::before(&upstream).await;
    let first = at_once(&gateway, &question(), 1);
    upstream.request(0).await;
    let hurried = question()
        .with("cf-aig-request-timeout", "50")
        .with("cf-aig-max-attempts", "2");
    let reply = gateway.ask(&hurried).await;
    assert_eq!((reply.status(), status(&reply)), (200, "MISS"));
    assert_eq!(reply.json()["of"], "another");
    upstream.go();
    assert_eq!(first.join_all().await.remove(0).text(), COMPLETION);
}

#[tokio::test]
async fn the_first_client_may_leave_at_any_byte_of_the_body() {
    const BODY: &str = r#"{"choices":[{"message":{"content":"Sawubona."}}]}"#;
    for at in 0..BODY.len() {
        let (before, after) = BODY.split_at(at);
        let [one, two] = [before, after].map(|part| Step::Data(part.into()));
        for framed in [
            Answer::new(200).announcing(BODY.len() as u64),
            Answer::new(200).chunked([""; 0]),
        ] {
            let answer = framed.then(one.clone()).then(Step::Wait).then(two.clone());
            let upstream = Upstream::start([answer, failing(500)]).await;
            let gateway = Harness::before(&upstream).await;
            let mut first = Inbound::Http1.start(&gateway, &question()).await;
            let other = Inbound::Http1.start(&gateway, &question()).await;
            assert_eq!(first.bytes(at).await, before.as_bytes());
            drop(first);
            under_way(&gateway, 1).await;
            upstream.go();
            assert_eq!(other.rest().await, (BODY.into(), End::Whole), "{at}");
            assert_eq!(status(&gateway.ask(&question()).await), "HIT", "{at}");
        }
    }
}

#[tokio::test]
async fn a_question_after_a_purge_joins_none_of_before() {
    let upstream = Upstream::start([json(COMPLETION).first(Step::Wait), json("{\"n\":2}")]).await;
    let gateway = Harness::with(PURGER, &upstream).await;
    let first = at_once(&gateway, &question(), 1);
    upstream.request(0).await;
    let purged = isango_testkit::client::ask(gateway.admin, &purge("{}")).await;
    assert_eq!(purged.status(), 200);
    let anew = gateway.ask(&question()).await;
    assert_eq!((status(&anew), anew.text()), ("MISS", "{\"n\":2}"));
    upstream.go();
    assert_eq!(first.join_all().await.remove(0).text(), COMPLETION);
    // What was asked before the purge does not take the place of what was asked after it.
    let kept = gateway.ask(&question()).await;
    assert_eq!((status(&kept), kept.text()), ("HIT", "{\"n\":2}"));
}

#[tokio::test]
async fn an_answer_that_was_asked_for_earlier_does_not_take_the_place_of_a_newer_one() {
    let upstream = Upstream::start([json(COMPLETION).first(Step::Wait), json("{\"n\":2}")]).await;
    let gateway = Harness::before(&upstream).await;
    let first = at_once(&gateway, &question(), 1);
    upstream.request(0).await;
    let anew = question().with("cf-aig-skip-cache", "true");
    assert_eq!(gateway.ask(&anew).await.text(), "{\"n\":2}");
    upstream.go();
    assert_eq!(first.join_all().await.remove(0).text(), COMPLETION);
    let kept = gateway.ask(&question()).await;
    assert_eq!((status(&kept), kept.text()), ("HIT", "{\"n\":2}"));
    let mut fills = gateway
        .records(3)
        .await
        .into_iter()
        .filter_map(|r| r.cache?.fill);
    assert!(fills.any(|fill| &*fill == "a newer answer is kept"));
}

#[tokio::test]
async fn an_answer_of_an_equal_target_is_kept() {
    let [one, two] =
        [json("{\"of\":1}"), json("{\"of\":2}")].map(|answer| Upstream::start([answer]));
    let (one, two) = (one.await, two.await);
    let equals = format!(
        "{}[[gateways.groups]]\nname = \"both\"\ntargets = [\"one\", \"two\"]\n",
        targets(&one, &two)
    );
    let gateway = Harness::start(&equals).await;
    // Whichever of the two is asked first, the second question costs nothing.
    for body in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":4}"] {
        let ask = Ask::post("/v1/local/default/both/chat/completions", body)
            .with("cf-aig-cache-ttl", "3600");
        let paid = gateway.ask(&ask).await;
        let kept = gateway.ask(&ask).await;
        assert_eq!((status(&paid), status(&kept)), ("MISS", "HIT"));
        assert_eq!(paid.body, kept.body);
    }
    assert!(one.count() > 0 && two.count() > 0, "both were asked");
}

#[tokio::test]
async fn a_credential_of_the_target_that_answered_is_not_kept() {
    let said = |name: &str| json(format!("{{\"said\":\"sk-of-{name}\"}}"));
    let (one, two) = (
        Upstream::start([said("one")]),
        Upstream::start([said("two")]),
    );
    let (one, two) = (one.await, two.await);
    let equals = format!(
        "{}[[gateways.groups]]\nname = \"both\"\ntargets = [\"one\", \"two\"]\n",
        targets(&one, &two)
    );
    let gateway = Harness::start(&equals).await;
    for n in 0..4 {
        let ask = Ask::post(
            "/v1/local/default/both/chat/completions",
            format!("{{\"n\":{n}}}"),
        )
        .with("cf-aig-cache-ttl", "3600");
        assert_eq!(status(&gateway.ask(&ask).await), "MISS");
    }
    for record in gateway.records(4).await {
        let fill = record.cache.unwrap().fill;
        assert_eq!(fill.as_deref(), Some("it repeats a credential"));
    }
    assert!(one.count() > 0 && two.count() > 0, "both were asked");
}
