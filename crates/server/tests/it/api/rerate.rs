//! Records that are priced again: what a job changes, what it leaves, and that everything agrees.

use isango_store::logs::LogWriter as _;
use isango_testkit::within;
use isango_types::price::CostStatus;
use isango_types::{Cost, Record};

use super::*;

const JOBS: &str = "/client/v4/accounts/local/isango/prices/rerate";

/// Waits for the end of a job; how it ended.
async fn ended(managed: &Managed, id: &str) -> Value {
    within("the job", async {
        loop {
            let told = managed
                .done("GET", &format!("{JOBS}/{id}"), &Value::Null)
                .await;
            let job = &told["result"];
            if job["ended_at"].is_string() {
                return job.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Makes a job; how it ended.
async fn rerated(managed: &Managed, asked: Value) -> Value {
    let made = managed.done("POST", JOBS, &asked).await;
    ended(managed, made["result"]["id"].as_str().unwrap()).await
}

async fn price(managed: &Managed, model: &str, input: &str) {
    let row =
        serde_json::json!({"provider": "openai", "model": model, "input": input, "output": "0"});
    managed.done("POST", &format!("{OWN}/prices"), &row).await;
}

/// What the dashboard shows: the sum of costs, and how many have none.
async fn sums(managed: &Managed) -> (Value, Value) {
    let question = serde_json::json!({"measures": ["sum:cost", "unpriced"]});
    let told = managed
        .done("POST", &format!("{OWN}/analytics"), &question)
        .await;
    let values = &told["result"]["total"]["values"];
    (values[0].clone(), values[1].clone())
}

/// Records of a model that nobody has a price for, of 1 000 tokens each; and others that no price
/// decides.
fn fill(managed: &Managed) -> Vec<Record> {
    let records: Vec<Record> = (0..20)
        .map(|n: u64| {
            let mut record = isango_store::conformance::sample::record(n * 35);
            record.created_at = NOW.minus(std::time::Duration::from_secs(7_200 - n * 60));
            record.id = isango_types::RecordId::new(record.created_at);
            record.provider = Some("openai".into());
            (record.model, record.model_requested) = (Some("house".into()), Some("house".into()));
            record.deployment = None;
            record.usage = Some(isango_types::Usage {
                input: 1_000,
                ..Default::default()
            });
            record.cost = match n {
                0 => Cost::free(),
                1 => Cost {
                    status: CostStatus::Custom,
                    nanousd: Some(5),
                    price: None,
                },
                2 => Cost::unknown(CostStatus::NoUsage),
                _ => Cost::unknown(CostStatus::Unpriced),
            };
            record.gateway = ["default", "support"][usize::from(n % 2 == 1)].into();
            record
        })
        .collect();
    managed.gateway.logs.append(&records).unwrap();
    records
}

#[tokio::test]
async fn a_price_that_was_missing_is_made_up_for() {
    let managed = Managed::start("").await;
    let records = fill(&managed);
    price(&managed, "house", "2").await;
    let dry = rerated(&managed, serde_json::json!({"dry_run": true})).await;
    assert_eq!(dry["state"], "done");
    let outcome = &dry["outcome"];
    for (name, count) in [
        ("looked_at", 20),
        ("changed", 17),
        ("kept", 3),
        ("newly_priced", 17),
        ("newly_unpriced", 0),
        ("unchanged", 0),
        ("before_nanousd", 0),
        ("after_nanousd", 17 * 2_000_000),
    ] {
        assert_eq!(outcome[name], count, "{name}: {outcome}");
    }
    assert_eq!(
        (&outcome["is_complete"], &dry["total"]),
        (&true.into(), &20.into())
    );
    assert_eq!(
        sums(&managed).await,
        (5.into(), 18.into()),
        "nothing was changed"
    );

    let done = rerated(&managed, serde_json::json!({})).await;
    assert_eq!(done["outcome"], *outcome, "it does what was told");
    assert_eq!(
        sums(&managed).await,
        ((5 + 17 * 2_000_000).into(), 1.into())
    );
    let path = format!("{OWN}/requests/{}", records[9].id);
    let told = managed.done("GET", &path, &Value::Null).await;
    let cost = &told["result"]["cost"];
    assert_eq!(cost["nanousd"], 2_000_000);
    assert_eq!(cost["price"], "own/openai/house");
    assert_eq!(
        told["result"]["review"]["rated"]["was"]["status"],
        "unpriced"
    );
    let again = rerated(&managed, serde_json::json!({})).await;
    assert_eq!(
        (&again["outcome"]["changed"], &again["outcome"]["unchanged"]),
        (&0.into(), &17.into())
    );
}

#[tokio::test]
async fn a_job_is_about_what_it_was_asked_for() {
    let managed = Managed::start("").await;
    let records = fill(&managed);
    price(&managed, "house", "1").await;
    let (from, to) = (records[4].created_at, records[10].created_at);
    for (asked, changed) in [
        (serde_json::json!({"since": from, "until": to}), 6),
        (serde_json::json!({"gateway": "support"}), 9),
        (
            serde_json::json!({"filter": "cost:unpriced -gateway:support"}),
            8,
        ),
        (serde_json::json!({"filter": "model:other"}), 0),
        // There was no such price then: it holds from when the row says, which is always.
        (serde_json::json!({"at": "1999-01-01T00:00:00Z"}), 17),
    ] {
        let mut asked = asked;
        asked["dry_run"] = true.into();
        let job = rerated(&managed, asked.clone()).await;
        assert_eq!(job["outcome"]["changed"], changed, "{asked}");
    }
    for (wrong, status, told) in [
        (
            serde_json::json!({"since": to, "until": from}),
            400,
            "behind `since`",
        ),
        (serde_json::json!({"filter": "cost:much"}), 400, "dollars"),
        (
            serde_json::json!({"dryrun": true}),
            400,
            "did you mean `dry_run`?",
        ),
        (serde_json::json!({"gateway": "../x"}), 404, "Not Found"),
    ] {
        let reply = managed.call("POST", JOBS, &wrong).await;
        assert_eq!(reply.status(), status, "{wrong}");
        assert!(reply.text().contains(told), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_price_that_is_gone_makes_a_cost_unknown_and_never_nothing() {
    let managed = Managed::start("").await;
    fill(&managed);
    price(&managed, "house", "1").await;
    rerated(&managed, serde_json::json!({})).await;
    let own = managed
        .done("GET", &format!("{OWN}/prices/own"), &Value::Null)
        .await;
    let id = own["result"][0]["id"].as_str().unwrap();
    managed
        .done("DELETE", &format!("{OWN}/prices/{id}"), &Value::Null)
        .await;
    let job = rerated(&managed, serde_json::json!({})).await;
    let outcome = &job["outcome"];
    assert_eq!(
        (&outcome["newly_unpriced"], &outcome["after_nanousd"]),
        (&17.into(), &0.into())
    );
    assert_eq!(sums(&managed).await, (5.into(), 18.into()));
}

#[tokio::test]
async fn the_command_line_waits_for_the_end() {
    let managed = Managed::start("").await;
    fill(&managed);
    price(&managed, "house", "2").await;
    let (code, told) = twins::isango(&managed, "prices rerate --dry-run --since 2026-11-01").await;
    assert_eq!(
        (code, &*told),
        (
            0,
            "done: 17 of 20 records would change, from 0 to 0.034 USD\n\
             17 that had no price have one, 0 that had one have none, 0 have none as before\n"
        )
    );
    let (code, told) = twins::isango(&managed, "prices rerate").await;
    assert!(
        code == 0 && told.starts_with("done: 17 of 20 records changed"),
        "{told}"
    );
    let (code, told) = twins::isango(&managed, "prices reratings --json").await;
    assert_eq!((code, told.lines().count()), (0, 2), "{told}");
}

#[tokio::test]
async fn jobs_are_in_the_trail_are_idempotent_and_of_their_account() {
    let managed = Managed::start("").await;
    fill(&managed);
    price(&managed, "house", "1").await;
    let post = |key: &str| {
        request("POST", JOBS, &managed.admin, &serde_json::json!({})).with("idempotency-key", key)
    };
    let first = ask(managed.gateway.admin, &post("a")).await.json();
    let id = first["result"]["id"].as_str().unwrap().to_owned();
    let again = ask(managed.gateway.admin, &post("a")).await.json();
    assert_eq!(again["result"]["id"], *id, "it is made once");
    ended(&managed, &id).await;
    let jobs = managed.done("GET", JOBS, &Value::Null).await;
    assert_eq!(jobs["result"].as_array().unwrap().len(), 1);
    // One that has ended stays as it is.
    let path = format!("{JOBS}/{id}");
    let cancelled = managed.done("DELETE", &path, &Value::Null).await;
    assert_eq!(cancelled["result"]["state"], "done");
    let path = format!("{OWN}/audit?kind=rerating&id={id}");
    let trail = managed.done("GET", &path, &Value::Null).await;
    let actions: Vec<&Value> = (trail["result"].as_array().unwrap().iter())
        .map(|entry| &entry["action"])
        .collect();
    assert_eq!(actions, ["update", "create"]);
    assert_eq!(trail["result"][0]["after"]["outcome"]["changed"], 17);
    let other = stored(&*managed.store, "other", |token| {
        token.account = "other".into();
        token.scopes = vec![Scope::Read, Scope::Write];
    });
    let theirs = format!("/client/v4/accounts/other/isango/prices/rerate/{id}");
    let reply = within("the token", async {
        loop {
            let reply = ask(
                managed.gateway.admin,
                &request("GET", &theirs, &other, &Value::Null),
            )
            .await;
            if reply.status() != 401 {
                return reply;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(reply.status(), 404);
}
