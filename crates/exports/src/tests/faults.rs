//! Destinations that fail, refuse, or answer nothing.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_hundred_failures_and_kills_lose_nothing_and_double_nothing_in_a_bucket() {
    let fails = |n: u64| match n * 2_654_435_761 % 11 {
        0 | 1 => Failing::Status(503),
        2 => Failing::Cut,
        3 => Failing::Status(400),
        4 => Failing::Status(429),
        _ => Failing::No,
    };
    let world = World::new(Bucket::failing(fails));
    let spec = spec(S3, Dataset::Records);
    for round in 0..100 {
        world.record(round * 7..round * 7 + 7, |_, _| {});
        world.kill_after(&spec, 1 + round % 5).await;
    }
    world
        .until(&spec, |view| view.delivered_records == 700)
        .await;
    assert_eq!(world.delivered(), world.ids(0..700));
    world.bucket.is_well.store(true, Ordering::SeqCst);
    let report = verify(&*world.bucket, &spec.destination, (1, Timestamp::default())).await;
    assert!(report.unwrap().is_intact());
}

#[tokio::test(start_paused = true)]
async fn what_a_webhook_gets_twice_has_one_id_and_one_body() {
    let fails = |n: u64| match n % 3 {
        1 => Failing::Cut,
        _ => Failing::No,
    };
    let world = World::new(Bucket::failing(fails));
    let spec = Spec {
        signing_key: Some(Secret::new("a secret of sixteen")),
        ..spec(HTTP, Dataset::Records)
    };
    world.record(0..100, |_, _| {});
    world
        .until(&spec, |view| view.delivered_records == 100)
        .await;
    let posts = world.bucket.posts.lock();
    assert!(posts.len() > 10);
    let mut by_batch = BTreeMap::new();
    for (batch, body) in &*posts {
        let (_, number) = batch.rsplit_once('/').unwrap();
        let before = by_batch.insert(number.parse::<u64>().unwrap(), body);
        assert!(before.is_none_or(|before| before == body), "{batch}");
    }
    let lines = by_batch
        .values()
        .map(|body| std::str::from_utf8(body).unwrap());
    let all: Vec<String> = lines.flat_map(ids).collect();
    assert_eq!(all, world.ids(0..100));
}

#[tokio::test(start_paused = true)]
async fn what_a_webhook_refuses_is_laid_aside_alone() {
    let world = World::new(Bucket {
        poison: Some("planted"),
        ..Bucket::default()
    });
    let spec = spec(HTTP, Dataset::Records);
    world.record(0..30, |n, record| {
        if n == 13 {
            record.user_agent = Some("planted".into());
        }
    });
    let view = world
        .until(&spec, |view| view.delivered_records == 29)
        .await;
    // 10; then 5, 2, 1 (laid aside), and what is left of those ten one by one; 10.
    assert_eq!(view.buried_batches, 1);
    let posts = world.bucket.posts.lock();
    assert_eq!(view.batches, posts.len() as u64);
    let told: Vec<&str> = posts.iter().map(|(batch, _)| &**batch).collect();
    let mut once = told.clone();
    once.dedup();
    assert_eq!(told, once);
    let texts = posts
        .iter()
        .map(|(_, body)| std::str::from_utf8(body).unwrap());
    let all: Vec<String> = texts.flat_map(ids).collect();
    let wanted = [world.ids(0..13), world.ids(14..30)].concat();
    assert_eq!(all, wanted);
    let told = world.store.buried().unwrap();
    let buried = world.store.exhume(told[0].id).unwrap().unwrap();
    let text = std::str::from_utf8(&buried.batch).unwrap();
    assert_eq!(ids(text), world.ids(13..14));
    assert_eq!(told[0].bytes, text.len() as u64);
    assert!(told[0].why.contains("400"), "{}", told[0].why);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_refuses_is_waited_for() {
    let world = World::new(Bucket::failing(|n| match n {
        0..50 => Failing::Status(413),
        _ => Failing::No,
    }));
    let spec = spec(S3, Dataset::Records);
    world.record(0..20, |_, _| {});
    let view = world
        .until(&spec, |view| view.delivered_records == 20)
        .await;
    assert_eq!((view.buried_batches, view.batches), (0, 2));
    assert_eq!(world.delivered(), world.ids(0..20));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_shown_until_a_batch_is_delivered() {
    let world = World::new(Bucket::failing(|_| Failing::Status(503)));
    let spec = spec(S3, Dataset::Records);
    world.record(0..10, |_, _| {});
    let view = world
        .until(&spec, |view| view.error_message.is_some())
        .await;
    assert_eq!(view.error_message.as_deref(), Some("it answers 503: no"));
    assert_eq!((view.lag_records, view.delivered_records), (10, 0));
    let once = World::new(Bucket::failing(|n| match n {
        0 => Failing::Status(503),
        _ => Failing::No,
    }));
    once.record(0..10, |_, _| {});
    let view = once.until(&spec, |view| view.delivered_records == 10).await;
    assert_eq!(
        (view.error_message, view.last_error.is_some()),
        (None, true)
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_laid_aside_is_sent_again_as_it_was_when_somebody_says_so() {
    let world = World::new(Bucket {
        poison: Some("planted"),
        ..Bucket::default()
    });
    let spec = spec(HTTP, Dataset::Records);
    world.record(0..3, |n, record| {
        if n == 1 {
            record.user_agent = Some("planted".into());
        }
    });
    let view = |view: &ExportView| view.delivered_records == 2 && view.buried_batches == 1;
    world.until(&spec, view).await;
    let exports = world.exports(&spec);
    let aside = exports.aside("local").unwrap();
    let [one] = &aside[..] else {
        panic!("{aside:?}")
    };
    let retry = async |account: &str, id| exports.retry(&*world.bucket, account, id).await;
    // It is still refused, and nobody else's.
    let refused = retry("local", one.id).await;
    assert_eq!(
        refused,
        Err(RetryError::Refused("it answers 400: no".into()))
    );
    for account in ["other", "loc", ""] {
        assert_eq!(exports.aside(account).unwrap(), [], "{account}");
        assert_eq!(retry(account, one.id).await, Err(RetryError::Unknown));
        assert!(!exports.discard(account, one.id).unwrap());
    }
    let well = World::new(Bucket::default());
    let taken = exports.retry(&*well.bucket, "local", one.id).await;
    assert_eq!(taken, Ok(()));
    let posts = well.bucket.posts.lock().clone();
    let [(batch, body)] = &posts[..] else {
        panic!("{posts:?}")
    };
    assert_eq!(ids(std::str::from_utf8(body).unwrap()), world.ids(1..2));
    // The number that the batch had.
    let number = manifest::number_in(&one.name).unwrap();
    assert!(number > 0);
    assert_eq!(*batch, format!("local/trail/{number}"));
    assert_eq!(exports.aside("local").unwrap(), []);
    assert_eq!(retry("local", one.id).await, Err(RetryError::Unknown));
}

#[tokio::test(start_paused = true)]
async fn what_was_laid_aside_of_a_job_that_is_gone_can_be_dropped_alone() {
    let world = World::new(Bucket::default());
    let spec = spec(HTTP, Dataset::Records);
    let buried = isango_store::exports::Buried {
        job: "local/gone".into(),
        name: "a_b_0000000007_c.log.gz".into(),
        at: sample::time(1),
        why: "it answers 400: no".into(),
        batch: vec![1],
    };
    world.store.bury(&buried).unwrap();
    let exports = world.exports(&spec);
    let id = exports.aside("local").unwrap()[0].id;
    let retried = exports.retry(&*world.bucket, "local", id).await;
    assert_eq!(retried, Err(RetryError::NoJob));
    assert!(exports.discard("local", id).unwrap());
    assert!(!exports.discard("local", id).unwrap());
}
