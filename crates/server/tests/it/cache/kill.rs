//! `kill -9` of the executable while answers are written to disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isango_testkit::answer::{json, status as failing};
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
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let upstream = Upstream::start_by(move |request| {
        if down.load(Ordering::Relaxed) {
            return failing(503);
        }
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
        for n in round * ANSWERS..(round + 1) * ANSWERS {
            let reply = ask(isango.addr, &question(n)).await;
            assert_eq!(reply.text(), answer(&n.to_string()));
        }
        within("the disk tier to be full", async {
            while sizes(&isango).await["bytes"].as_u64() < Some(700_000) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // Killed while the writer is at work: the last ones are still on their way.
        drop(isango);
        isango = Isango::start(folder.path());
        within("the file to be read", async {
            while sizes(&isango).await["entries"].as_u64() < Some(16) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // What is not there cannot be had now, and takes no place of what is.
        is_down.store(true, Ordering::Relaxed);
        let mut hits = 0;
        for n in 0..(round + 1) * ANSWERS {
            let reply = ask(isango.addr, &question(n)).await;
            if status(&reply) == "HIT" {
                assert_eq!(reply.text(), answer(&n.to_string()), "round {round}");
                hits += 1;
            } else {
                assert_eq!(reply.status(), 503);
            }
        }
        is_down.store(false, Ordering::Relaxed);
        let disk = sizes(&isango).await;
        assert!(disk["bytes"].as_u64() <= disk["limit"].as_u64(), "{disk}");
        // On a machine that is busy elsewhere, some that are there are found too late.
        let late = late(&isango).await;
        let entries = disk["entries"].as_u64().unwrap();
        assert!(
            hits <= entries && hits + late >= entries,
            "{round}: {hits}, {late}, {disk}"
        );
    }
    assert!(!folder.path().join("data/cache/cache.sqlite.bad").exists());
}
