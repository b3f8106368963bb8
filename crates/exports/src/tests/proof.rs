//! What a bucket proves of itself.

use super::*;

/// What somebody does to a bucket behind the gateway's back.
type Change<'c> = &'c dyn Fn(&mut BTreeMap<String, Vec<u8>>);

#[tokio::test(start_paused = true)]
async fn a_changed_a_missing_and_a_swapped_object_are_found() {
    let world = World::new(Bucket::default());
    world.record(0..60, |_, _| {});
    let spec = spec(S3, Dataset::Records);
    world
        .until(&spec, |view| view.delivered_records == 60)
        .await;
    let whole = world.bucket.objects.lock().clone();
    let names: Vec<String> = whole.keys().cloned().collect();
    let (manifests, objects): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| name.contains("/manifests/"));
    let examine = async |change: Change<'_>| {
        *world.bucket.objects.lock() = whole.clone();
        change(&mut world.bucket.objects.lock());
        let report = verify(&*world.bucket, &spec.destination, (1, Timestamp::default())).await;
        let report = report.unwrap();
        let told = report.findings.iter().map(|found| found.what.clone());
        (report.damages, told.collect::<Vec<_>>().join("; "))
    };
    assert_eq!(examine(&|_| {}).await, (0, String::new()));
    let byte = examine(&|all| all.get_mut(objects[2]).unwrap()[5] ^= 1).await;
    assert_eq!(byte, (1, "the object was changed".into()));
    let gone = examine(&|all| drop(all.remove(objects[2]))).await;
    assert_eq!(gone, (1, "the object is missing".into()));
    let swapped = examine(&|all| {
        let one = all[objects[1]].clone();
        let other = all.insert(objects[2].clone(), one).unwrap();
        all.insert(objects[1].clone(), other);
    })
    .await;
    assert_eq!(swapped.0, 2);
    let begun = examine(&|all| drop(all.remove(manifests[0]))).await;
    assert_eq!(begun, (1, "the manifests from 1 to 1 are missing".into()));
    let unlisted = examine(&|all| drop(all.remove(manifests[2]))).await;
    assert_eq!(
        unlisted,
        (1, "the manifests from 3 to 3 are missing".into())
    );
    let forged = examine(&|all| {
        let mut manifest: Manifest = serde_json::from_slice(&all[manifests[2]]).unwrap();
        manifest.records -= 1;
        all.insert(manifests[2].clone(), manifest.linked().to_json());
    })
    .await;
    assert_eq!(forged, (1, "it does not follow the one before".into()));
    let reordered = examine(&|all| {
        let one = all[manifests[1]].clone();
        let other = all.insert(manifests[2].clone(), one).unwrap();
        all.insert(manifests[1].clone(), other);
    })
    .await;
    assert!(reordered.0 >= 2);
}
