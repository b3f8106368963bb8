use super::*;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Credential, CredentialError> {
    Credential::parse(text, &|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// Where a token is asked for, and the kind of the credential.
fn issuer(text: &str, variables: &[(&str, &str)]) -> (String, &'static str) {
    let credential = parse(text, variables).unwrap();
    let Credential::Issued(issuer) = &credential else {
        panic!("{credential:?} issues nothing");
    };
    let scheme = if issuer.url.https { "https" } else { "http" };
    let (authority, path) = (&issuer.url.authority, &issuer.url.path);
    (format!("{scheme}://{authority}{path}"), credential.kind())
}

#[test]
fn a_text_is_a_key_unless_it_is_json() {
    assert_eq!(
        parse(" sk-abc\n", &[]),
        Ok(Credential::Key(Secret::new("sk-abc")))
    );
    for wrong in ["", "  ", "two\nlines", "schlüssel", "tab\tbed"] {
        assert!(parse(wrong, &[]).is_err(), "{wrong}");
    }
}

#[test]
fn aws_keys_are_known_by_their_members() {
    let text = r#"{"accessKeyId":"AKID","secretAccessKey":"s3cret","region":"us-east-1"}"#;
    let Ok(Credential::Aws(keys)) = parse(text, &[]) else {
        panic!("these are AWS keys");
    };
    assert_eq!(&*keys.access_key_id, "AKID");
    assert_eq!(keys.region.as_deref(), Some("us-east-1"));
    assert_eq!(keys.session_token, None);
}

#[test]
fn a_service_account_asks_google_or_the_operators_own_address() {
    let account = r#"{"type":"service_account","project_id":"p","private_key_id":"k",
        "private_key":"PEM","client_email":"a@b","universe_domain":"googleapis.com""#;
    let kind = "google service account";
    assert_eq!(
        issuer(&format!("{account}}}"), &[]),
        ("https://oauth2.googleapis.com/token".into(), kind)
    );
    let own = format!("{account},\"token_uri\":\"http://127.0.0.1:9/token\"}}");
    assert_eq!(issuer(&own, &[]), ("http://127.0.0.1:9/token".into(), kind));
}

#[test]
fn entra_is_asked_in_three_ways() {
    let secret = r#"{"entra":"client_credentials","tenantId":"t-1","clientId":"c",
        "clientSecret":"s"}"#;
    assert_eq!(
        issuer(secret, &[]),
        (
            "https://login.microsoftonline.com/t-1/oauth2/v2.0/token".into(),
            "entra client credentials"
        )
    );
    let workload = r#"{"entra":"workload_identity"}"#;
    let variables = [
        ("AZURE_TENANT_ID", "t-2"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token"),
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
    ];
    assert_eq!(
        issuer(workload, &variables),
        (
            "https://login.microsoftonline.us/t-2/oauth2/v2.0/token".into(),
            "entra workload identity"
        )
    );
    let managed = r#"{"entra":"managed_identity"}"#;
    let kind = "entra managed identity";
    assert_eq!(
        issuer(managed, &[]),
        (
            "http://169.254.169.254/metadata/identity/oauth2/token".into(),
            kind
        )
    );
    let of_app = [
        ("IDENTITY_ENDPOINT", "http://127.0.0.1:41741/msi/token"),
        ("IDENTITY_HEADER", "h"),
    ];
    assert_eq!(
        issuer(managed, &of_app),
        ("http://127.0.0.1:41741/msi/token".into(), kind)
    );
}

#[test]
fn a_foreign_credential_leads_to_no_file_address_or_identity_of_the_machine() {
    let everything = |name: &str| {
        Some(String::from(match name {
            "AZURE_AUTHORITY_HOST" => "https://login.microsoftonline.us",
            "AZURE_TENANT_ID" | "AZURE_CLIENT_ID" => "of-the-machine",
            _ => "http://127.0.0.1:9/planted",
        }))
    };
    let foreign = |text: &str| Credential::parse_foreign(text, &everything);
    let google = r#""type":"service_account","private_key":"PEM","client_email":"a@b""#;
    let own = r#""entra":"client_credentials","tenantId":"t","clientId":"c","clientSecret":"s""#;
    for (text, member) in [
        (r#"{"entra":"workload_identity"}"#, "workload_identity"),
        (
            r#"{"entra":"workload_identity","tenantId":"t","clientId":"c",
                "tokenFile":"/proc/self/environ","authority":"https://evil.example"}"#,
            "workload_identity",
        ),
        (r#"{"entra":"managed_identity"}"#, "managed_identity"),
        (
            r#"{"entra":"managed_identity","authority":"http://10.0.0.1"}"#,
            "managed_identity",
        ),
        (
            &*format!("{{{own},\"authority\":\"https://evil.example\"}}"),
            "authority",
        ),
        (
            &*format!("{{{own},\"tokenFile\":\"/etc/passwd\"}}"),
            "tokenFile",
        ),
        (
            &*format!("{{{google},\"token_uri\":\"http://127.0.0.1:9/token\"}}"),
            "token_uri",
        ),
        (
            &*format!("{{{google},\"token_uri\":\"https://oauth2.googleapis.com/token/x\"}}"),
            "token_uri",
        ),
    ] {
        let told = foreign(text).unwrap_err().to_string();
        assert!(told.contains(&format!("`{member}`")), "{text}: {told}");
        assert!(Credential::parse(text, &everything).is_ok(), "{text}");
    }
    let account = format!("{{{google},\"token_uri\":\"https://oauth2.googleapis.com/token\"}}");
    for (text, place) in [
        (account, "oauth2.googleapis.com"),
        // The operator says where Entra is.
        (format!("{{{own}}}"), "login.microsoftonline.us"),
    ] {
        let Ok(Credential::Issued(issuer)) = foreign(&text) else {
            panic!("{text} is a credential of anybody's");
        };
        assert_eq!(&*issuer.url.authority, place);
    }
    // Who it is, the environment does not say.
    assert!(foreign(r#"{"entra":"client_credentials","clientSecret":"s"}"#).is_err());
    assert_eq!(
        foreign("sk-abc"),
        Ok(Credential::Key(Secret::new("sk-abc")))
    );
}

#[test]
fn what_is_no_credential_is_told_without_repeating_it() {
    for wrong in [
        r#"{"planted-secret":1}"#,
        r#"{"accessKeyId":"planted-secret"}"#,
        r#"{"type":"authorized_user","client_secret":"planted-secret"}"#,
        r#"{"entra":"client_credentials","tenantId":"t","clientId":"c"}"#,
        r#"{"entra":"client_credentials","tenantId":"planted-secret/../x","clientId":"c",
            "clientSecret":"planted-secret"}"#,
        r#"{"entra":"workload_identity"}"#,
        r#"{"entra":"planted-secret"}"#,
        r#"{"entra":"managed_identity","authority":"ftp://planted-secret"}"#,
        "{planted-secret",
    ] {
        let told = parse(wrong, &[]).unwrap_err().to_string();
        assert!(!told.contains("planted"), "{told}");
    }
}

#[test]
fn no_credential_shows_a_secret() {
    for text in [
        "planted-secret",
        r#"{"accessKeyId":"A","secretAccessKey":"planted-secret","sessionToken":"planted-too"}"#,
        r#"{"type":"service_account","private_key":"planted-secret","client_email":"a@b"}"#,
        r#"{"entra":"client_credentials","tenantId":"t","clientId":"c",
            "clientSecret":"planted-secret"}"#,
    ] {
        let credential = parse(text, &[]).unwrap();
        assert!(
            !format!("{credential:?}").contains("planted"),
            "{credential:?}"
        );
        let mut secrets = credential.secrets().map(Secret::expose);
        assert!(secrets.any(|secret| secret == "planted-secret"));
        assert!(credential.identity().any(|part| part == "planted-secret"));
    }
}

#[test]
fn a_rate_admits_its_limit_in_each_stretch_whoever_asks_at_once() {
    let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
    let rate = Rate::new(3, 60);
    let admitted: usize = std::thread::scope(|scope| {
        let ask = || (0..50).filter(|_| rate.take(at(600)).is_ok()).count();
        let askers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    });
    assert_eq!(admitted, 3);
    assert_eq!(rate.take(at(645)), Err(15));
    assert_eq!(rate.take(at(660)), Ok(()));
    // The stretch before stays closed when the clock is set back.
    assert_eq!(rate.take(at(650)), Ok(()));
    assert_eq!(rate.take(at(650)), Ok(()));
    assert!(rate.take(at(650)).is_err());
}
