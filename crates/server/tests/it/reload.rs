//! A new configuration holds for every request that comes after it, as a whole, and for none
//! before.

use isango_testkit::answer::{Step, json};
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::fixtures::{COMPLETION, PROMPT, Random};
use isango_testkit::upstream::Upstream;
use isango_types::record::Outcome;

use crate::harness::{self, Harness};

const PATH: &str = "/v1/local/shop/openai/chat/completions";

/// A gateway `shop` whose provider, credential and price go together as generation `n`.
fn generation(upstream: &Upstream, n: u32) -> String {
    format!(
        "[[gateways]]\nid = \"shop\"\n\
         [[gateways.targets]]\nname = \"target-{n}\"\nprovider = \"openai\"\n\
         credential = \"sk-{n}\"\n\
         [[prices]]\nprovider = \"openai\"\nmodel = \"gpt-4o-2024-08-06\"\n\
         input = \"{n}\"\noutput = \"0\"\n\
         [providers.openai]\nbase_url = \"{}/gen-{n}\"\n",
        upstream.url()
    )
}

fn post() -> Ask {
    Ask::post(PATH, PROMPT)
}

#[tokio::test]
async fn a_change_is_taken_up_as_a_whole() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::start(&generation(&upstream, 1)).await;
    let mut client = Client::connect(gateway.addr).await;
    for n in 1..=3 {
        gateway
            .server
            .reload(&harness::config(&generation(&upstream, n)));
        // The same connection before and after.
        let reply = client.ask(&post()).await;
        assert_eq!(
            reply.header("cf-aig-provider"),
            Some(&*format!("target-{n}"))
        );
    }
    let records = gateway.records(3).await;
    for (n, (received, record)) in (1..).zip(upstream.requests().iter().zip(records)) {
        assert_eq!(received.head.target, format!("/gen-{n}/chat/completions"));
        assert_eq!(
            received.head.header("authorization"),
            Some(&*format!("Bearer sk-{n}"))
        );
        assert_eq!(record.target.as_deref(), Some(&*format!("target-{n}")));
        assert_eq!(record.cost.nanousd, Some(19 * 1_000 * n));
    }
}

#[tokio::test]
async fn a_running_request_keeps_what_it_began_with() {
    let upstream =
        Upstream::start([json("").chunked([COMPLETION]).first(Step::Wait), json("{}")]).await;
    let gateway = Harness::start(&generation(&upstream, 1)).await;
    let mut running = Client::connect(gateway.addr).await;
    running.send_ask(&post()).await;
    upstream.request(0).await;
    // The gateway is gone, and the price is another.
    let without = generation(&upstream, 2).replace("shop", "other");
    gateway.server.reload(&harness::config(&without));
    let reply = gateway.ask(&post()).await;
    assert_eq!(reply.json()["internalCode"], 2001);
    upstream.go();
    let reply = running.reply().await;
    assert_eq!(
        (reply.status(), reply.text(), reply.end),
        (200, COMPLETION, End::Whole)
    );
    assert_eq!(reply.header("cf-aig-provider"), Some("target-1"));
    let records = gateway.records(2).await;
    assert_eq!(
        (records[0].outcome, &*records[0].gateway),
        (Outcome::Answered, "shop")
    );
    assert_eq!(
        records[0].cost.nanousd,
        Some(19 * 1_000),
        "by the price it began with"
    );
    assert_eq!(records[1].outcome, Outcome::Refused);
}

#[tokio::test]
async fn no_request_ever_sees_half_a_change() {
    let upstream = Upstream::start([json(COMPLETION)]).await;
    let gateway = Harness::start(&generation(&upstream, 1)).await;
    let configs: Vec<_> = (1..=2)
        .map(|n| harness::config(&generation(&upstream, n)))
        .collect();
    let asking = async {
        let mut client = Client::connect(gateway.addr).await;
        for _ in 0..200 {
            assert_eq!(client.ask(&post()).await.status(), 200);
        }
    };
    let changing = async {
        let mut random = Random::new(7);
        loop {
            gateway.server.reload(&configs[random.below(2)]);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = changing => {}
    }
    let mut seen = [0; 3];
    for received in upstream.requests() {
        let n: usize = received.head.target["/gen-".len()..][..1].parse().unwrap();
        assert_eq!(
            received.head.header("authorization"),
            Some(&*format!("Bearer sk-{n}"))
        );
        seen[n] += 1;
    }
    assert!(seen[1] > 0 && seen[2] > 0, "{seen:?}");
    for record in gateway.records(200).await {
        let target = record.target.unwrap();
        let n: u64 = target["target-".len()..].parse().unwrap();
        assert_eq!(record.cost.nanousd, Some(19 * 1_000 * n));
    }
}
