//! What becomes of the place of a job, and of what was delivered before.

use std::collections::VecDeque;

use super::*;
use crate::deliver::put;

/// Answers by a list, and takes note of what it was asked.
struct Scripted {
    answers: Mutex<VecDeque<(u16, &'static str)>>,
    asked: Mutex<Vec<Method>>,
}

impl Carrier for Scripted {
    async fn carry(&self, parcel: Parcel) -> Result<Receipt, String> {
        self.asked.lock().push(parcel.method);
        let (status, body) = self.answers.lock().pop_front().ok_or("no more answers")?;
        Ok(Receipt {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            body: body.as_bytes().into(),
        })
    }
}

#[tokio::test]
async fn a_conflict_is_a_delivery_only_where_the_object_is_there() {
    const AZURE: &str = "azure://a.blob.core.windows.net/logs?sv=1&sig=x";
    let check = async |answers: &[(u16, &'static str)], locked: bool, taken: bool| {
        let carrier = Scripted {
            answers: Mutex::new(answers.iter().copied().collect()),
            asked: Mutex::default(),
        };
        let destination = Destination::parse(&Secret::new(AZURE), Allowed::default()).unwrap();
        let lock = locked.then(|| sample::time(9));
        let content = (bytes::Bytes::from_static(b"mine"), lock);
        let put = put(&carrier, &destination, "a", content, sample::time(0)).await;
        assert_eq!(put.is_ok(), taken, "{answers:?} {put:?}");
        assert!(carrier.answers.lock().is_empty(), "{answers:?}");
        let asked = carrier.asked.lock().clone();
        assert_eq!(asked.len(), answers.len());
    };
    check(&[(201, "")], true, true).await;
    check(&[(503, "RequestId:a409b")], true, false).await;
    check(&[(409, "BlobAlreadyExists"), (200, "mine")], true, true).await;
    check(
        &[(409, "BlobAlreadyExists"), (200, "another's")],
        true,
        false,
    )
    .await;
    check(&[(409, "LeaseIdMissing"), (404, "")], false, false).await;
    check(&[(409, "BlobAlreadyExists"), (503, "409")], true, false).await;
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_job_is_forgotten_only_when_it_is_gone() {
    let world = World::new(Bucket::default());
    world.record(0..10, |_, _| {});
    let spec = Spec {
        of_file: false,
        ..spec(S3, Dataset::Records)
    };
    let place = || world.store.load("local/trail").unwrap();
    world
        .during(&spec, async |exports| {
            seen(exports, |view| view.delivered_records == 10).await;
            // The configuration lost what it is opened with.
            world.list([], Some("local/trail"));
            let held = seen(exports, |view| !view.enabled).await;
            assert_eq!(held.error_message.as_deref(), Some("no key"));
            assert_eq!(held.delivered_records, 10);
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(place().is_some());
            // It has it again, and goes on from where it was.
            world.record(10..20, |_, _| {});
            world.list([&spec], None);
            seen(exports, |view| view.delivered_records == 20).await;
            assert_eq!(world.delivered(), world.ids(0..20));
            // Its gateway is not in force, then it is gone.
            world.list([], Some("local"));
            seen(exports, |view| !view.enabled).await;
            world.list([], Some("loc"));
            while !exports.views().is_empty() || place().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_off_shows_how_far_it_came() {
    let world = World::new(Bucket::default());
    world.record(0..10, |_, _| {});
    let spec = spec(S3, Dataset::Records);
    let off = Spec {
        enabled: false,
        ..spec.clone()
    };
    world
        .during(&spec, async |exports| {
            seen(exports, |view| view.delivered_records == 10).await;
            world.list([&off], None);
            seen(exports, |view| !view.enabled).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let view = exports.views().pop().unwrap();
            assert_eq!((view.enabled, view.delivered_records), (false, 10));
        })
        .await;
}

/// What was saved of the job.
fn state(world: &World) -> State {
    let saved = world.store.load("local/trail").unwrap();
    State::read(&saved.unwrap()).unwrap()
}

async fn is_intact(world: &World, spec: &Spec) -> bool {
    let at = (1, Timestamp::default());
    let report = verify(&*world.bucket, &spec.destination, at).await;
    report.unwrap().is_intact()
}

fn made(numbers: std::ops::Range<u64>) -> Vec<Record> {
    let record = |n| {
        let mut record = sample::record(n);
        record.gateway = "pushed".into();
        record
    };
    numbers.map(record).collect()
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_lost_its_end_is_noticed_and_nothing_of_it_left_out() {
    let mut world = World::new(Bucket::default());
    let spec = spec(S3, Dataset::Records);
    let old = made(0..40);
    world.logs.append(&old).unwrap();
    world
        .until(&spec, |view| view.delivered_records == 40)
        .await;
    // After a power loss others stand in the places of the last.
    world.logs = Arc::default();
    world.logs.append(&old[..33]).unwrap();
    world.logs.append(&made(50..60)).unwrap();
    world
        .until(&spec, |view| view.delivered_records == 53)
        .await;
    let again = world.ids(30..33);
    let wanted = [world.ids(0..40), again, world.ids(50..60)].concat();
    assert_eq!(world.delivered(), wanted);
    assert!(is_intact(&world, &spec).await);
    // Nothing stands in their places yet.
    world.logs = Arc::default();
    world.logs.append(&old[..33]).unwrap();
    world
        .until(&spec, |view| view.delivered_records == 56)
        .await;
    assert!(is_intact(&world, &spec).await);
    // Another journal.
    world.logs = Arc::default();
    world.logs.append(&made(100..120)).unwrap();
    world
        .until(&spec, |view| view.delivered_records == 76)
        .await;
    assert!(world.delivered().ends_with(&world.ids(100..120)));
}

#[tokio::test(start_paused = true)]
async fn what_is_none_of_a_jobs_is_looked_at_once() {
    let world = World::new(Bucket::default());
    let spec = Spec {
        filter: "status:500".into(),
        ..spec(S3, Dataset::Records)
    };
    world.record(0..25, |_, record| record.status = Some(200));
    world
        .during(&spec, async |exports| {
            seen(exports, |view| {
                view.lag_records == 0 && !view.head.is_empty()
            })
            .await;
            while state(&world).looked().count() < 25 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
    world.record(25..26, |_, record| record.status = Some(500));
    let view = world.until(&spec, |view| view.delivered_records == 1).await;
    assert_eq!(view.lost_records, 0);
    let objects = world.bucket.objects.lock();
    let (_, manifest) = objects
        .iter()
        .find(|(key, _)| key.contains("/manifests/"))
        .unwrap();
    let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
    assert_eq!((manifest.from, manifest.to, manifest.skipped), (0, 26, 25));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_erased_does_not_leave_with_a_batch_of_before() {
    use isango_store::later::Deletion;
    let world = World::new(Bucket::failing(|_| Failing::Status(503)));
    let spec = spec(S3, Dataset::Records);
    let records = made(0..10);
    world.logs.append(&records).unwrap();
    let delivered = async |exports: &Exports, count: u64| {
        world.bucket.is_well.store(true, Ordering::SeqCst);
        seen(exports, |view| view.delivered_records == count).await
    };
    world
        .during(&spec, async |exports| {
            seen(exports, |view| view.error_message.is_some()).await;
            world
                .logs
                .delete(&[records[3].id], Deletion::Erased)
                .unwrap();
            // While it is offered again and again.
            while state(&world).pending.is_none_or(|one| one.records == 10) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
    // While nothing is at work.
    world
        .logs
        .delete(&[records[5].id], Deletion::Erased)
        .unwrap();
    world
        .during(&spec, async |exports| delivered(exports, 8).await)
        .await;
    let wanted = [world.ids(0..3), world.ids(4..5), world.ids(6..10)].concat();
    assert_eq!(world.delivered(), wanted);
    assert!(is_intact(&world, &spec).await);
}

#[tokio::test(start_paused = true)]
async fn no_batch_is_larger_than_its_receiver_takes() {
    let world = World::new(Bucket::default());
    world.record(0..40, |n, record| {
        record.user_agent = Some("x".repeat(usize::try_from(n).unwrap() * 20).into());
    });
    let most = 2_500;
    let spec = Spec {
        bounds: Bounds {
            bytes: most,
            records: 1_000,
            wait: Duration::from_secs(1),
        },
        ..spec(S3, Dataset::Records)
    };
    world
        .until(&spec, |view| view.delivered_records == 40)
        .await;
    assert_eq!(world.delivered(), world.ids(0..40));
    let objects = world.bucket.objects.lock();
    let bodies = objects.iter().filter(|(key, _)| !key.contains("manifests"));
    let lengths: Vec<usize> = bodies.map(|(_, body)| body.len()).collect();
    assert!(lengths.iter().all(|length| *length <= most), "{lengths:?}");
    assert!(lengths.len() > 10 && lengths.len() < 40, "{lengths:?}");
}

#[tokio::test]
async fn what_a_destination_says_is_told_without_what_is_secret_of_it() {
    const CONF: &str = "https://h.example.com/hook/planted-path?token=planted%2Dvalue\
                        &header_Authorization=Bearer%20planted-key";
    const SAID: &str = "no POST h.example.com/hook/planted-path?token=planted-value \
                        (planted%2Dvalue) for 'Bearer planted-key'";
    let carrier = Scripted {
        answers: Mutex::new([(403, SAID)].into()),
        asked: Mutex::default(),
    };
    let destination = Destination::parse(&Secret::new(CONF), Allowed::default()).unwrap();
    let told = test_write(&carrier, &destination, sample::time(0)).await;
    let told = told.unwrap_err();
    assert!(
        !told.contains("planted") && !told.contains("h.example"),
        "{told}"
    );
    assert!(told.starts_with("it answers 403: no POST"), "{told}");
}
