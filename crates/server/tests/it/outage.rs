//! The examples of `docs/resilience.md`, sent to `isango demo` as they stand there: what the page says
//! that comes back is what comes back.

use serde_json::Value;

use isango_testkit::client::{Ask, Reply, ask};

use crate::cli::{ANY_PORTS, Isango, address, isango};

const PAGE: &str = include_str!("../../../../docs/resilience.md");

/// The lines of the console example in the section that is called so.
fn example(title: &str) -> Vec<&'static str> {
    let (_, section) = PAGE.split_once(&format!("# {title}\n")).expect(title);
    let (_, block) = section.split_once("```console\n").expect(title);
    let (block, _) = block.split_once("\n```").expect(title);
    block.lines().collect()
}

/// The command that begins with `$ curl`, and what is shown behind it up to the next command.
fn curl(lines: &[&str]) -> (String, Vec<String>) {
    let begin = lines
        .iter()
        .position(|line| line.starts_with("$ curl"))
        .unwrap();
    let is_end = |line: &&str| line.contains(" | ");
    let end = begin + lines[begin..].iter().position(is_end).unwrap();
    let shown = lines[end + 1..]
        .iter()
        .take_while(|line| !line.starts_with("$ "));
    let command = lines[begin..=end].join("\n");
    let (command, _pipe) = command.rsplit_once(" | ").unwrap();
    (
        command.to_owned(),
        shown.map(|line| (*line).to_owned()).collect(),
    )
}

/// The words of a command, as a shell takes them apart.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in command.split('\'').enumerate() {
        match at % 2 {
            1 => words.push(part.to_owned()),
            _ => words.extend(
                part.split_whitespace()
                    .filter(|w| *w != "\\")
                    .map(str::to_owned),
            ),
        }
    }
    words
}

/// The request that a command sends.
fn request(command: &str) -> Ask {
    let words = words(command);
    let behind = |flag: &str| {
        let flags = words.iter().zip(words.iter().skip(1));
        let of_flag = flags.filter(move |(word, _)| *word == flag);
        of_flag.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let url = words
        .iter()
        .find_map(|word| word.strip_prefix("http://127.0.0.1:8700"));
    let body = behind("-d").remove(0);
    let headers = behind("-H");
    let headers = headers
        .iter()
        .map(|header| header.split_once(": ").unwrap());
    let ask = Ask::new("POST", url.unwrap()).body(body);
    headers.fold(ask, |ask, (name, value)| ask.with(name, value))
}

/// Every header that the page shows is in the answer, but for ids with the same value.
fn check_shown(reply: &Reply, shown: &[String]) {
    let (status, headers) = shown.split_first().unwrap();
    assert_eq!(*status, format!("HTTP/1.1 {} OK", reply.status()));
    assert!(headers.len() >= 3, "{shown:?}");
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        let sent = reply.header(name);
        assert!(sent.is_some(), "{name}");
        if name != "cf-aig-log-id" {
            assert_eq!(sent, Some(value), "{name}");
        }
    }
}

/// What does not depend on the time that something took.
fn lasting(attempt: &str) -> Value {
    let mut attempt: Value = serde_json::from_str(attempt).unwrap();
    let members = attempt.as_object_mut().unwrap();
    members.retain(|name, _| !name.ends_with("_us") && name != "reused");
    attempt
}

#[tokio::test]
async fn the_outage_of_the_docs_goes_as_the_docs_say() {
    let folder = tempfile::tempdir().unwrap();
    let demo = format!("demo {ANY_PORTS} --simulator 127.0.0.1:0 --seconds 0");
    let mut demo = Isango::start(&demo, folder.path());
    let line = demo.line();
    let (data, data_dir) = (address(&line["data"]), line["data_dir"].as_str().unwrap());

    let lines = example("An outage, tried out");
    let (command, shown) = curl(&lines);
    let reply = ask(data, &request(&command)).await;
    check_shown(&reply, &shown);
    let id = reply.header("cf-aig-log-id").unwrap();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|l| lasting(l))
        .collect();
    assert_eq!(told.len(), 3);
    // The record is there within the flush window.
    let record = isango_testkit::within("the record", async {
        loop {
            let words = format!("logs show {id} --json --data-dir {data_dir}");
            if let (0, said) = isango(&words).await {
                return serde_json::from_str::<Value>(&said).unwrap();
            }
        }
    });
    let record = record.await;
    let attempts = record["attempts"].as_array().unwrap().iter();
    let attempts: Vec<_> = attempts
        .map(|attempt| lasting(&attempt.to_string()))
        .collect();
    assert_eq!(attempts, told);

    let (command, shown) = curl(&example("The Universal endpoint"));
    let reply = ask(data, &request(&command)).await;
    check_shown(&reply, &shown);
}
