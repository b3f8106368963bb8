//! A writer that is killed at any time loses nothing that it acknowledged.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it is a test and its child"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use isango_records::{Options, Records, verify};
use isango_store::conformance::sample;
use isango_store::logs::{LogReader, LogWriter, Position};
use isango_types::Record;

/// Tells the child, which is this same test, where to write.
const FOLDER: &str = "ISANGO_TEST_CRASH_FOLDER";
const NAME: &str = "a_killed_writer_loses_nothing_that_it_acknowledged";

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write_until_killed(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..20 {
        // Another place in the life of the writer each time: before, within and after files.
        acknowledged.extend(run_and_kill(folder.path(), 1 + round * 5));
        let store = Records::open(folder.path(), options()).unwrap();
        let (mut stored, mut position) = (Vec::new(), Position::START);
        loop {
            let (records, next) = store.follow(position, 10_000).unwrap();
            if records.is_empty() {
                break;
            }
            stored.extend(records.iter().map(|record| record.id.to_string()));
            position = next;
        }
        let unique: BTreeSet<String> = stored.iter().cloned().collect();
        assert_eq!(
            unique.len(),
            stored.len(),
            "round {round}: a record is there twice"
        );
        let lost: Vec<_> = acknowledged.difference(&unique).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        let report = verify(folder.path()).unwrap();
        assert!(report.is_intact(), "round {round}: {report:?}");
    }
    assert!(acknowledged.len() > 1_000);
}

fn options() -> Options {
    Options {
        max_file_bytes: 100_000,
        ..Options::default()
    }
}

/// Lets a child write until it has acknowledged so many batches, kills it, and returns the ids in
/// everything that it said.
fn run_and_kill(folder: &Path, batches: usize) -> Vec<String> {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let mut count = 0;
    while count < batches {
        let line = lines.next().unwrap().unwrap();
        count += usize::from(line.starts_with("ack "));
        said.push(line);
    }
    child.kill().unwrap();
    said.extend(lines.map(Result::unwrap));
    child.wait().unwrap();
    // The last line may be cut; an id that is whole has 36 characters.
    said.iter()
        .filter_map(|line| line.strip_prefix("ack "))
        .flat_map(|ids| ids.split(' '))
        .filter(|id| id.len() == 36)
        .map(str::to_owned)
        .collect()
}

fn write_until_killed(folder: &Path) -> ! {
    let store = Records::open(folder, options()).unwrap();
    let mut n = store.end().unwrap().count();
    loop {
        let batch: Vec<Record> = (0..1 + n % 17)
            .map(|more| sample::record(n + more))
            .collect();
        store.append(&batch).unwrap();
        n += batch.len() as u64;
        let ids: Vec<String> = batch.iter().map(|record| record.id.to_string()).collect();
        println!("ack {}", ids.join(" "));
    }
}
