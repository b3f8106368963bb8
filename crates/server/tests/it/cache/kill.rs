//! `kill -9` of the executable while answers are written to disk.

use isango_testkit::answer::json;
use isango_testkit::client::{Ask, ask};
use isango_testkit::upstream::Upstream;
use isango_testkit::within;

use super::status;
use crate::crash::Isango;
use crate::harness::CHAT;

const ROUNDS: u64 = 4;
/// Answers of a round: more than the disk tier has room for.
const ANSWERS: u64 = 96;
/// Length of each, in bytes.
const BYTES: usize = 24 << 10;

fn question(n: u64) -> Ask {
    Ask::post(CHAT, format!("{{\"n\":{n}}}"))
        .with("authorization", "Bearer k")
        .with("cf-aig-cache-ttl", "3600")
}

/// The one right answer to a question.
fn answer(n: &str) -> String {
    let line = format!("{n};");
    format!("{{\"said\":\"{}\"}}", line.repeat(BYTES / line.len()))
}

async fn sizes(isango: &Isango) -> serde_json::Value {
    ask(isango.admin, &Ask::get("/cache")).await.json()["disk"].clone()
}

/// Lookups that took too long.
async fn late(isango: &Isango) -> u64 {
    let metrics = ask(isango.admin, &Ask::get("/metrics")).await;
    let mut lines = metrics.text().lines();
    let count = lines.find_map(|line| line.strip_prefix("isango_cache_errors_total "));
    count.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_disk_tier_held_is_served_whole_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start_by(|request| {
        let body = String::from_utf8_lossy(&request.body);
        let n = body.trim_start_matches("{\"n\":").trim_end_matches('}');
        json(answer(n))
    })
    .await;
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         [cache]\nmemory_bytes = 65_536\ndisk_bytes = 1_048_576\n\
         [providers.openai]\nbase_url = \"{}/v1\"\n",
        upstream.url()
    );
    std::fs::write(folder.path().join("isango.toml"), config).unwrap();
    let mut isango = Isango::start(folder.path());
    for round in 0..ROUNDS {
        let begin = round * ANSWERS;
        for n in begin..begin + ANSWERS {
            let reply = ask(isango.addr, &question(n)).await;
            assert_eq!(reply.text(), answer(&n.to_string()));
        }
        within("the disk tier to be full", async {
            while sizes(&isango).await["bytes"].as_u64() < Some(700_000) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // Killed while a writer is at work: some of the last ones are still on their way.
        drop(isango);
        isango = Isango::start(folder.path());
        within("the file to be read", async {
            while sizes(&isango).await["entries"].as_u64() < Some(16) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let before = upstream.count();
        let mut hits = 0;
        for n in (begin..begin + ANSWERS).rev() {
            let reply = ask(isango.addr, &question(n)).await;
            assert_eq!(reply.text(), answer(&n.to_string()), "{round}");
            hits += u64::from(status(&reply) == "HIT");
        }
        // On a machine that is busy elsewhere, some that are there are found too late.
        let late = late(&isango).await;
        assert!(hits + late >= 8, "round {round}: {hits} hits, {late} late");
        assert_eq!(
            upstream.count() - before,
            usize::try_from(ANSWERS - hits).unwrap()
        );
        let disk = sizes(&isango).await;
        assert!(disk["bytes"].as_u64() <= disk["limit"].as_u64(), "{disk}");
    }
    assert!(!folder.path().join("data/cache/cache.sqlite.bad").exists());
}
