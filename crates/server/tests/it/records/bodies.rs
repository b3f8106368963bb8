//! What is stored of bodies: in part, encoded, of other kinds, or not at all.

use super::*;

#[tokio::test]
async fn bodies_are_left_out_where_the_request_or_the_gateway_says_so() {
    let settings = "[[gateways]]\nid = \"discreet\"\ncollect_log_payload = false\n\
                    record_raw_streams = true\n";
    let upstream = Upstream::start([sse(chat_events(&["secret words"]))]).await;
    let gateway = Harness::with(settings, &upstream).await;
    for (at, (gateway_id, asked, is_kept)) in [
        ("default", Some("false"), false),
        ("default", None, true),
        ("discreet", None, false),
        ("discreet", Some("true"), true),
        ("discreet", Some("false"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = CHAT.replace("default", gateway_id);
        let mut request = Ask::post(&path, STREAM_PROMPT).with("authorization", "Bearer k");
        if let Some(asked) = asked {
            request = request.with("cf-aig-collect-log-payload", asked);
        }
        gateway.ask(&request).await;
        let record = gateway.records(at + 1).await.remove(at);
        for message in [&record.request, &record.response] {
            assert_eq!(message.body.is_some(), is_kept, "{gateway_id} {asked:?}");
            let omitted = (!is_kept).then_some(Omitted::PayloadOff);
            assert_eq!(message.omitted, omitted, "{gateway_id} {asked:?}");
            assert!(message.bytes > 0);
        }
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text.contains("secret words"), is_kept, "{text}");
        assert_eq!(text.contains("isiZulu"), is_kept, "{text}");
        // The money does not depend on it.
        assert_eq!(record.usage.unwrap().total(), 20);
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_stored_in_part() {
    let settings = "[[gateways]]\nid = \"default\"\nmax_record_body_bytes = \"1KiB\"\n";
    let long = "x".repeat(3000);
    let asked =
        format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{long}"}}]}}"#);
    let told = COMPLETION.replace("Sawubona.", &long);
    let record = record_of(settings, &chat().body(asked.clone()), json(told.clone())).await;
    for (message, whole) in [(&record.request, &asked), (&record.response, &told)] {
        assert_eq!(message.bytes, whole.len() as u64);
        assert_eq!(message.omitted, Some(Omitted::TooLarge));
        assert_eq!(message.body.as_ref().unwrap().as_str(), &whole[..1024]);
    }
    assert_eq!(
        record.usage.unwrap().total(),
        24,
        "the usage stands in the end that is kept"
    );
    assert_eq!(record.model_requested.as_deref(), Some("gpt-4o"));
}

#[tokio::test]
async fn bodies_of_other_kinds_are_stored_as_what_they_are() {
    let speech = Answer::new(200)
        .header("content-type", "audio/mpeg")
        .body(&b"\xff\xf3\x00mp3"[..]);
    let path = CHAT.replace("chat/completions", "audio/speech");
    let request = Ask::post(&path, r#"{"model":"tts-1","input":"hi","voice":"alloy"}"#)
        .with("authorization", "Bearer k");
    let record = record_of("", &request, speech).await;
    assert!(
        matches!(record.response.body.as_ref().unwrap(), Body::Base64(b) if **b == *"//MAbXAz")
    );
    assert_eq!(record.response.content_type.as_deref(), Some("audio/mpeg"));
    assert_eq!(record.operation, Operation::Speech);

    let html = Answer::new(502)
        .header("content-type", "text/html")
        .body("<h1>Bad</h1>");
    let record = record_of("", &chat().body("{\"broken\": "), html).await;
    assert!(
        matches!(record.request.body.as_ref().unwrap(), Body::Text(t) if **t == *"{\"broken\": ")
    );
    assert!(
        matches!(record.response.body.as_ref().unwrap(), Body::Text(t) if **t == *"<h1>Bad</h1>")
    );

    let none = record_of(
        "",
        &Ask::new("DELETE", CHAT).with("authorization", "Bearer k"),
        Answer::new(204),
    )
    .await;
    assert_eq!((none.status, none.outcome), (Some(204), Outcome::Answered));
    assert!(none.request.body.is_none() && none.response.body.is_none());
    assert_eq!((none.request.bytes, none.response.bytes), (0, 0));
}

#[tokio::test]
async fn encoded_bodies_are_stored_decoded() {
    let asked = gzip(PROMPT.as_bytes());
    let request = chat().body(asked.clone()).with("content-encoding", "gzip");
    let record = record_of("", &request, json(COMPLETION).gzipped()).await;
    assert_eq!(record.request.body.unwrap().as_str(), PROMPT);
    assert_eq!(record.request.bytes, asked.len() as u64);
    assert_eq!(record.request.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(record.response.body.unwrap().as_str(), COMPLETION);
    assert_eq!(record.response.content_encoding.as_deref(), Some("gzip"));
    assert_ne!(record.response.bytes, COMPLETION.len() as u64);
    assert_eq!(record.usage.unwrap().total(), 24);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_noted() {
    let odd = json(gzip(COMPLETION.as_bytes())).header("content-encoding", "x-odd");
    let record = record_of("", &chat(), odd).await;
    assert!(
        record.notes.iter().any(|note| note.contains("x-odd")),
        "{:?}",
        record.notes
    );
    assert_eq!(
        (record.cost.status, record.cost.nanousd),
        (CostStatus::NoUsage, None)
    );
}
