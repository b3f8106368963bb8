use super::*;

const OPEN: Allowed = Allowed {
    private: true,
    folder: true,
};

fn parse(conf: &str, allowed: Allowed) -> Result<Destination, DestinationError> {
    Destination::parse(&Secret::new(conf), allowed)
}

/// Where requests go: scheme, authority and path, without an object's name.
fn place(conf: &str, allowed: Allowed) -> String {
    let destination = parse(conf, allowed).unwrap();
    let url = |host: &Host, path: &str| {
        let scheme = if host.https { "https" } else { "http" };
        format!("{scheme}://{}{path}", host.authority)
    };
    match &destination.to {
        To::Folder(root) => root.display().to_string(),
        To::Bucket(bucket) => url(&bucket.host, &bucket.base),
        To::Blob(blob) => url(&blob.host, &blob.container),
        To::Post(post) => url(&post.host, post.path.expose()),
    }
}

#[test]
fn every_kind_of_the_contract_leads_to_its_place() {
    let keys = "access-key-id=AK&secret-access-key=s%2Fk";
    for (conf, to) in [
        (
            format!("s3://audit/p/{{DATE}}?region=af-south-1&{keys}"),
            "https://audit.s3.af-south-1.amazonaws.com",
        ),
        (
            format!("s3://my.audit/p?region=af-south-1&{keys}"),
            "https://s3.af-south-1.amazonaws.com/my.audit",
        ),
        (
            format!("s3://audit?region=x&endpoint=store.example.com:9000&{keys}"),
            "https://store.example.com:9000/audit",
        ),
        (
            format!("r2://audit/p?account-id=0a1b&{keys}"),
            "https://0a1b.r2.cloudflarestorage.com/audit",
        ),
        (
            format!("gs://audit?{keys}"),
            "https://storage.googleapis.com/audit",
        ),
        (
            "azure://acc.blob.core.windows.net/logs/a/{DATE}?sv=1&sig=x".into(),
            "https://acc.blob.core.windows.net/logs",
        ),
        (
            "https://logs.example.com/in?tag=a&header_X-Key=1".into(),
            "https://logs.example.com/in?tag=a",
        ),
        (
            "splunk://splunk.example.com:8088?channel=c&header_Authorization=Splunk%20t".into(),
            "https://splunk.example.com:8088/services/collector/raw",
        ),
        (
            "datadog://http-intake.logs.datadoghq.eu/api/v2/logs?header_DD-API-KEY=k&service=a"
                .into(),
            "https://http-intake.logs.datadoghq.eu/api/v2/logs?service=a",
        ),
    ] {
        assert_eq!(place(&conf, Allowed::default()), to, "{conf}");
    }
    assert_eq!(
        place("folder:///var/log/isango/{DATE}", OPEN),
        "/var/log/isango"
    );
    let emulated = format!("s3://audit?region=x&endpoint=http://10.0.0.5:9000&{keys}");
    assert_eq!(place(&emulated, OPEN), "http://10.0.0.5:9000/audit");
}

#[test]
fn nothing_secret_is_shown() {
    for conf in [
        "s3://audit/p?region=af-south-1&access-key-id=AK&secret-access-key=planted",
        "azure://acc.blob.core.windows.net/logs?sv=1&sig=planted",
        "https://logs.example.com/in?token=planted&header_X-Key=planted",
        "https://hooks.example.com/services/planted/more-planted",
        "https://hooks.example.com/planted?header_X-Key=a",
        "splunk://s.example.com:8088?channel=c&header_Authorization=Splunk%20planted",
    ] {
        let destination = parse(conf, Allowed::default()).unwrap();
        let shown = format!("{} {destination:?}", destination.shown());
        assert!(!shown.contains("planted"), "{shown}");
        assert!(destination.shown().contains("*****"), "{shown}");
    }
}

#[test]
fn a_place_is_shown_as_far_as_it_opens_nothing() {
    for (conf, expected) in [
        ("https://a.example/in/secret", "https://a.example/*****"),
        ("http://10.0.0.5:8080/in", "http://10.0.0.5:8080/*****"),
        (
            "https://a.example/in?region=x&k=v",
            "https://a.example/*****?region=x&k=*****",
        ),
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example/"),
        (
            "s3://audit/p/{DATE}?region=x",
            "s3://audit/p/{DATE}?region=x",
        ),
        ("splunk://s.example.com:8088", "splunk://s.example.com:8088"),
    ] {
        assert_eq!(shown(conf), expected);
        // As it was told it is told again.
        assert_eq!(shown(expected), expected);
    }
}

#[test]
fn what_is_wrong_is_told_without_repeating_it() {
    let check = |conf: &str, told: &str| {
        let error = parse(conf, Allowed::default()).unwrap_err().to_string();
        assert!(error.contains(told), "{conf}: {error}");
        assert!(!error.contains("planted"), "{error}");
    };
    let keys = "access-key-id=AK&secret-access-key=planted";
    check("planted", "begins with its kind");
    check("ftp://a", "`s3`, `r2`");
    check("s3://audit", "`region`");
    check("s3://audit?region=x", "`access-key-id`");
    check(&format!("s3://A/p?region=x&{keys}"), "name of a bucket");
    check(&format!("s3://audit/../p?region=x&{keys}"), "`..`");
    check(&format!("s3://audit/{{WEEK}}?region=x&{keys}"), "`{WEEK}`");
    check(&format!("s3://audit?region=x&sso=1&{keys}"), "`sso`");
    check(
        &format!("s3://audit?region=x&endpoint=http://10.0.0.5&{keys}"),
        "allow_private",
    );
    check(
        "azure://acc.blob.core.windows.net/logs",
        "shared access signature",
    );
    check("http://logs.example.com", "allow_private");
    check("splunk://s.example.com?x=1", "header_Authorization");
    check(
        "splunk://s.example.com?insecure-skip-verify=true&header_Authorization=planted",
        "extra_ca_file",
    );
    check("datadog://d.example.com", "DD-API-KEY");
    check("folder:///var/log", "configuration file only");
    check(
        "https://logs.example.com?header_a%20b=planted",
        "cannot be a header",
    );
}
