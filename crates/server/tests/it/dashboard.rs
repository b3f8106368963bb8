//! The dashboard from inside the binary: its page, its files, and what browsers are told of them.

use isango_testkit::client::{Ask, Reply, ask};

use crate::harness::Harness;

async fn get(server: &Harness, path: &str, headers: &[(&str, &str)]) -> Reply {
    let with = |ask: Ask, (name, value): &(&str, &str)| ask.with(name, value);
    ask(server.admin, &headers.iter().fold(Ask::get(path), with)).await
}

#[tokio::test]
async fn every_address_shows_the_page_under_its_policy() {
    let server = Harness::start("").await;
    let page = get(&server, "/", &[]).await;
    assert_eq!(page.status(), 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.text().contains("<div id=\"app\">"), "{}", page.text());
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
        ("vary", "accept-encoding"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    for path in [
        "/requests",
        "/requests/019a7e3c-5a00-7000-8000-000000000001",
        "/a?b=c",
    ] {
        assert_eq!(get(&server, path, &[]).await.body, page.body, "{path}");
    }
    for path in ["/assets/none.js", "/client/none", "/client/v4/none"] {
        assert_eq!(get(&server, path, &[]).await.status(), 404, "{path}");
    }
    let failure = get(&server, "/client/none", &[]).await.json();
    assert_eq!(failure["errors"][0]["code"], 7_003);
    assert_eq!(get(&server, "/healthz", &[]).await.text(), "ok\n");
    let posted = ask(server.admin, &Ask::post("/", "{}")).await;
    assert_eq!(
        (posted.status(), posted.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let head = ask(server.admin, &Ask::new("HEAD", "/requests")).await;
    let length = page.body.len().to_string();
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(&*length));
}

#[tokio::test]
async fn every_file_of_the_page_is_there_and_loaded_once() {
    let server = Harness::start("").await;
    let page = get(&server, "/", &[]).await;
    let links: Vec<&str> = page
        .text()
        .split(['"'])
        .filter(|text| text.starts_with('/'))
        .collect();
    assert!(links.len() >= 3, "{links:?}");
    for path in links {
        let plain = get(&server, path, &[]).await;
        assert_eq!(
            (plain.status(), plain.header("content-encoding")),
            (200, None),
            "{path}"
        );
        let etag = plain.header("etag").unwrap();
        let again = get(&server, path, &[("if-none-match", etag)]).await;
        assert_eq!((again.status(), again.body.len()), (304, 0), "{path}");
        let other = get(&server, path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status(), 200, "{path}");
        let accepts = ("accept-encoding", "gzip, br");
        let packed = get(&server, path, &[accepts]).await;
        if packed.header("content-encoding").is_some() {
            assert_eq!(packed.header("content-encoding"), Some("gzip"));
            assert!(packed.body.len() < plain.body.len(), "{path}");
            assert_ne!(packed.header("etag"), Some(etag), "another representation");
        }
        let known = ("if-none-match", packed.header("etag").unwrap());
        assert_eq!(
            get(&server, path, &[accepts, known]).await.status(),
            304,
            "{path}"
        );
    }
    let script = get(&server, "/assets/app.js", &[("accept-encoding", "gzip")]).await;
    assert_eq!(script.header("content-encoding"), Some("gzip"));
}
