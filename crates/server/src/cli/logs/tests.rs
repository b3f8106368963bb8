use isango_store::later::{Change, Deletion, Patch};
use isango_store::logs::LogWriter as _;
use isango_types::price::{Cost, CostStatus};
use isango_types::record::{
    Attempt, Blame, Body, Comment, Message, MetadataValue, Outcome, RecordError, Timing,
};
use isango_types::{Operation, Usage};
use serde_json::value::RawValue;

use super::*;

fn record(id: u64) -> Record {
    let created_at = Timestamp::from_micros(1_795_363_823_000_000 + id * 1_000);
    let id: RecordId = format!("019a7e3c-5a00-7000-8000-{id:012x}")
        .parse()
        .unwrap();
    let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    Record {
        id,
        event_id: id.to_string().into(),
        created_at,
        account: "local".into(),
        gateway: "support".into(),
        config_revision: 0,
        provider: Some("azure-openai".into()),
        target: Some("azure-openai-sa".into()),
        resource: Some("aoai-sa".into()),
        deployment: Some("chat".into()),
        operation: Operation::Chat,
        model_requested: Some("gpt-4o".into()),
        model: Some("gpt-4o-2024-11-20".into()),
        method: "POST".into(),
        path: "aoai-sa/chat/chat/completions?api-version=2024-10-21".into(),
        http_version: "1.1".into(),
        status: Some(200),
        outcome: Outcome::Answered,
        error: None,
        attempts: vec![Attempt {
            target: "azure-openai-sa".into(),
            status: Some(200),
            ttfb_us: Some(250_000),
            reused: true,
            ..Attempt::default()
        }],
        timing: Timing {
            ttfb_us: Some(251_000),
            total_us: 1_234_567,
            overhead_us: 87,
            ..Timing::default()
        },
        stream: false,
        usage: Some(Usage {
            input: 1_000,
            cache_read: 200,
            output: 50,
            ..Usage::default()
        }),
        cost: Cost {
            status: CostStatus::Priced,
            nanousd: Some(3_250_000),
            price: Some("2026-11-20/azure-openai/gpt-4o".into()),
        },
        cache: None,
        limits: Vec::new(),
        finish_reason: Some("stop".into()),
        provider_id: None,
        metadata: [("tenantId".into(), MetadataValue::Text("acme".into()))].into(),
        token: None,
        user_agent: Some("=cmd|' /C calc'!A0".into()),
        notes: vec!["a note\u{1b}[2J".into()],
        trace: None,
        review: None,
        request: Message {
            content_type: Some("application/json".into()),
            bytes: 34,
            body: Some(Body::Json(json(r#"{"z":[],"a":[1,{"b":"x, y: \"q\""}]}"#))),
            ..Message::default()
        },
        response: Message {
            content_type: Some("text/plain".into()),
            bytes: 9,
            body: Some(Body::Text("two\nlines".into())),
            ..Message::default()
        },
    }
}

fn failed(id: u64) -> Record {
    Record {
        status: Some(429),
        error: Some(RecordError {
            code: "upstream_429".into(),
            blame: Blame::Upstream,
            message: "too many, \"slow down\"".into(),
        }),
        usage: None,
        cost: Cost::default(),
        limits: Vec::new(),
        model: None,
        target: None,
        model_requested: Some("a-very-long-name-of-a-model-\u{1b}[31m".into()),
        ..record(id)
    }
}

fn stored(records: &[Record]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = Records::open(folder.path(), isango_records::Options::default()).unwrap();
    store.append(records).unwrap();
    folder
}

fn isango(folder: &tempfile::TempDir, words: &str) -> String {
    let (code, text) = isango_code(folder, words);
    assert_eq!(code, 0, "{text}");
    text
}

fn isango_code(folder: &tempfile::TempDir, words: &str) -> (u8, String) {
    let mut out = Vec::new();
    let words = format!("isango logs {words}");
    let mut words: Vec<_> = words.split(' ').map(Into::into).collect();
    words.extend(["--data-dir".into(), folder.path().into()]);
    let code = crate::cli::run(words, &mut out);
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn people_see_a_table_with_the_oldest_first_at_the_tail() {
    let folder = stored(&[record(1), failed(2), record(3)]);
    insta::assert_snapshot!(isango(&folder, "tail -n 2"), @r"
    TIME                STATUS GATEWAY      PROVIDER         MODEL                             TOKENS         COST     TOOK ID
    2026-11-22 16:10:23 429    support      azure-openai     a-very-long-name-of-a-mod…             -     no_usage    1.23s 019a7e3c-5a00-7000-8000-000000000002
    2026-11-22 16:10:23 200    support      azure-openai-sa  gpt-4o-2024-11-20                1200>50     $0.00325    1.23s 019a7e3c-5a00-7000-8000-000000000003
    ");
    insta::assert_snapshot!(isango(&folder, "query --limit 1 status:ok"), @r"
    TIME                STATUS GATEWAY      PROVIDER         MODEL                             TOKENS         COST     TOOK ID
    2026-11-22 16:10:23 200    support      azure-openai-sa  gpt-4o-2024-11-20                1200>50     $0.00325    1.23s 019a7e3c-5a00-7000-8000-000000000003
    ");
    assert_eq!(isango(&folder, "tail -n 0"), "");
    assert_eq!(isango(&folder, "query status:500"), "");
}

#[test]
fn programs_see_json_lines() {
    let folder = stored(&[record(1), failed(2)]);
    let lines = |words: &str| -> Vec<serde_json::Value> {
        isango(&folder, words)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let query = lines("query --json meta.tenantId=acme");
    assert_eq!((query.len(), &query[0]["status"]), (2, &429.into()));
    assert!(
        query[1]["request"].get("body").is_none(),
        "bodies are not asked for"
    );
    let bodies = lines("query --json --bodies status:ok");
    assert_eq!(bodies[0]["request"]["body"]["json"]["a"][0], 1);
    assert_eq!(lines("tail --json -n 1")[0]["status"], 429);
    assert_eq!(lines("export")[0]["status"], 200);
}

#[test]
fn what_was_said_later_is_shown_and_found() {
    let folder = stored(&[record(1), failed(2)]);
    let store = Records::open(folder.path(), isango_records::Options::default()).unwrap();
    let patch = Patch {
        feedback: Change::Set(-1),
        score: Change::Set(12.into()),
        comment: Some(Comment {
            at: record(1).created_at,
            author: None,
            text: "wrong\u{1b}[2J".into(),
        }),
        ..Patch::default()
    };
    assert!(store.patch(record(1).id, &patch).unwrap());
    // Also while another process has the store open.
    let shown = isango(&folder, &format!("show {}", record(1).id));
    for line in [
        "feedback     -1",
        "score        12",
        "comment      somebody, 2026-11-22T16:10:23.001000Z: wrong\u{fffd}[2J",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let found = isango(&folder, "query --json feedback:<0");
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.contains("\"score\":12"), "{found}");
    store.delete(&[record(1).id], Deletion::Hidden).unwrap();
    assert_eq!(isango_code(&folder, &format!("show {}", record(1).id)).0, 1);
    assert_eq!(isango(&folder, "export").lines().count(), 1);
}

#[test]
fn a_store_is_copied_and_its_indexes_are_made_again() {
    let folder = stored(&[record(1), failed(2)]);
    let copy = tempfile::tempdir().unwrap();
    let words = format!("backup {} --json", copy.path().display());
    let told: serde_json::Value = serde_json::from_str(&isango(&folder, &words)).unwrap();
    assert_eq!((&told["files"], &told["kept"]), (&1.into(), &0.into()));
    let again = isango(&folder, &format!("backup {}", copy.path().display()));
    assert_eq!(again, "0 files copied, 0 bytes; 1 were there\n");
    assert_eq!(isango(&copy, "export"), isango(&folder, "export"));
    assert_eq!(
        isango(&copy, "rebuild"),
        "the indexes of 1 files were made again\n"
    );
    assert_eq!(isango(&copy, "rebuild --json"), "{\"files\":1}\n");
    // Not while somebody writes.
    let _writer = Records::open(folder.path(), isango_records::Options::default()).unwrap();
    assert_eq!(isango_code(&folder, "rebuild").0, 1);
}

#[test]
fn an_export_can_be_bounded() {
    let folder = stored(&[record(1), failed(2)]);
    for (words, count) in [("", 2), (" --limit 1", 1), (" --limit 0", 0)] {
        let lines = isango(&folder, &format!("export{words}"));
        assert_eq!(lines.lines().count(), count, "{words}");
    }
    assert!(isango(&folder, "export --limit 1").contains(&record(1).id.to_string()));
}

#[test]
fn a_query_can_be_bounded_in_time() {
    let folder = stored(&[record(1)]);
    let count = |words: &str| isango(&folder, words).lines().count();
    assert_eq!(count("query --since 2026-11-22 --json"), 1);
    assert_eq!(count("query --until 2026-11-22 --json"), 0);
    assert_eq!(count("query --since 2026-11-22T16:10:23.002Z --json"), 0);
    assert_eq!(isango_code(&folder, "query --since yesterday").0, 2);
}

#[test]
fn a_request_that_named_no_model_is_not_said_to_have_asked_for_one() {
    let folder = stored(&[Record {
        model_requested: None,
        ..record(1)
    }]);
    let shown = isango(&folder, &format!("show {}", record(1).id));
    let model = shown.lines().find(|line| line.starts_with("model "));
    assert_eq!(model, Some("model        gpt-4o-2024-11-20"));
}

#[test]
fn one_record_is_shown_with_its_bodies() {
    let folder = stored(&[record(1)]);
    let id = record(1).id;
    insta::assert_snapshot!(isango(&folder, &format!("show {id}")), @r#"
    id           019a7e3c-5a00-7000-8000-000000000001
    time         2026-11-22T16:10:23.001000Z
    gateway      local/support
    provider     azure-openai
    target       azure-openai-sa
    resource     aoai-sa
    deployment   chat
    operation    chat
    model        gpt-4o-2024-11-20 (asked: gpt-4o)
    request      POST aoai-sa/chat/chat/completions?api-version=2024-10-21
    status       200 answered
    duration     1.23s
    first byte   251.0ms
    overhead     87us
    usage        cache_read 200, input 1000, output 50
    cost         $0.00325 by 2026-11-20/azure-openai/gpt-4o
    finish       stop
    user agent   =cmd|' /C calc'!A0
    meta.tenantId acme
    attempt 1    azure-openai-sa 200, first byte 250.0ms, pooled
    note         a note�[2J

    --- request: 34 bytes, application/json ---
    {
      "z": [],
      "a": [
        1,
        {
          "b": "x, y: \"q\""
        }
      ]
    }

    --- response: 9 bytes, text/plain ---
    two
    lines
    "#);
    let json: serde_json::Value =
        serde_json::from_str(&isango(&folder, &format!("show --json {id}"))).unwrap();
    assert_eq!(json["id"], id.to_string());
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let folder = stored(&[record(1)]);
    assert_eq!(isango_code(&folder, &format!("show {}", record(2).id)).0, 1);
    assert_eq!(isango_code(&folder, "show nothing").0, 2);
    assert_eq!(isango_code(&folder, "query modle:gpt-4o").0, 2);
    assert_eq!(isango_code(&folder, "query --bodies").0, 2);
    let missing = tempfile::tempdir().unwrap();
    let path = missing.path().join("nothing");
    let words = [
        "isango",
        "logs",
        "tail",
        "--data-dir",
        path.to_str().unwrap(),
    ];
    assert_eq!(crate::cli::run(words.map(Into::into), &mut Vec::new()), 1);
}

#[test]
fn a_spreadsheet_gets_no_formulas() {
    let folder = stored(&[record(1), failed(2)]);
    insta::assert_snapshot!(isango(&folder, "export --format csv").replace('\r', ""), @r#"
    id,created_at,account,gateway,provider,target,resource,deployment,operation,model_requested,model,method,path,status,outcome,error_code,error_blame,error_message,attempts,stream,queue_us,connect_us,ttfb_us,ttft_us,total_us,overhead_us,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,usage_estimated,cost_usd,cost_status,price,finish_reason,token,user_agent,metadata,request_bytes,response_bytes
    019a7e3c-5a00-7000-8000-000000000001,2026-11-22T16:10:23.001000Z,local,support,azure-openai,azure-openai-sa,aoai-sa,chat,chat,gpt-4o,gpt-4o-2024-11-20,POST,aoai-sa/chat/chat/completions?api-version=2024-10-21,200,answered,,,,1,false,0,0,251000,,1234567,87,1200,200,0,50,0,false,0.00325,priced,2026-11-20/azure-openai/gpt-4o,stop,,'=cmd|' /C calc'!A0,"{""tenantId"":""acme""}",34,9
    019a7e3c-5a00-7000-8000-000000000002,2026-11-22T16:10:23.002000Z,local,support,azure-openai,,aoai-sa,chat,chat,a-very-long-name-of-a-model-[31m,,POST,aoai-sa/chat/chat/completions?api-version=2024-10-21,429,answered,upstream_429,upstream,"too many, ""slow down""",1,false,0,0,251000,,1234567,87,,,,,,,,no_usage,,stop,,'=cmd|' /C calc'!A0,"{""tenantId"":""acme""}",34,9
    "#);
}

#[test]
fn json_is_indented_in_its_own_order() {
    let check = |json: &str, text: &str| assert_eq!(show::indented(json), text);
    check("{}", "{}");
    check("{ }", "{}");
    check("[1, 2]", "[\n  1,\n  2\n]");
    check(
        r#"{"b":{"a":[]},"a":"{\"x\":[1,2]}"}"#,
        "{\n  \"b\": {\n    \"a\": []\n  },\n  \"a\": \"{\\\"x\\\":[1,2]}\"\n}",
    );
    check(r#""\\""#, r#""\\""#);
}

#[test]
fn a_wide_cell_is_cut_and_a_terminal_is_not_moved() {
    assert_eq!(table::clean("gpt-4o", 6), "gpt-4o");
    assert_eq!(table::clean("gpt-4o-mini", 6), "gpt-4…");
    assert_eq!(table::clean("a\u{1b}[2J", 9), "a\u{fffd}[2J");
}

#[test]
fn a_time_is_an_age_a_day_or_a_moment() {
    let now = Timestamp::parse("2026-11-22T16:00:00Z").unwrap();
    let check = |text: &str, expected: &str| {
        assert_eq!(
            moment(text, now).unwrap(),
            Timestamp::parse(expected).unwrap(),
            "{text}"
        );
    };
    check("1h", "2026-11-22T15:00:00Z");
    check("30d", "2026-10-23T16:00:00Z");
    check("2026-11-01", "2026-11-01T00:00:00Z");
    check("2026-11-01T02:00:00+02:00", "2026-11-01T00:00:00Z");
    assert!(moment("noon", now).is_err());
}
