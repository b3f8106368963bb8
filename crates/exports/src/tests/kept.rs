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
