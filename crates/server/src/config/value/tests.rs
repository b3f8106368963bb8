use super::*;

#[test]
fn durations_are_numbers_with_units() {
    let check = |text: &str, millis: Option<u64>| {
        assert_eq!(
            parse_wait(text),
            millis.map(Duration::from_millis),
            "{text}"
        );
    };
    check("10s", Some(10_000));
    check("250ms", Some(250));
    check("1m30s", Some(90_000));
    check("1_000ms", Some(1_000));
    check("2000us", Some(2));
    check("90d", Some(7_776_000_000));
    check("0s", Some(0));
    for bad in [
        "",
        "10",
        "s",
        "10 s",
        "1.5s",
        "-1s",
        "10x",
        "99999999999999999d",
        "ten",
    ] {
        check(bad, None);
    }
}

#[test]
fn sizes_are_bytes_or_have_units() {
    let check = |text: &str, bytes: Option<u64>| assert_eq!(parse_size(text), bytes, "{text}");
    check("100MiB", Some(100 << 20));
    check("5 GB", Some(5_000_000_000));
    check("1_024", Some(1_024));
    check("0", Some(0));
    for bad in ["", "MiB", "1.5GiB", "-1", "10XB", "99999999999999TiB"] {
        check(bad, None);
    }
}

#[test]
fn bounds_are_told_in_their_largest_unit() {
    assert_eq!(size_text(64 << 30), "64GiB");
    assert_eq!(size_text(1), "1");
    assert_eq!(wait_text(86_400_000), "1d");
    assert_eq!(wait_text(1), "1ms");
}

#[test]
fn digests_are_64_hex_digits_behind_their_name() {
    let check = |text: &str| digest(&Kind::Digest, &DeValue::String(text.into()));
    assert_eq!(
        check(&format!("sha256:{}", "0f".repeat(32))),
        Some([15; 32])
    );
    assert_eq!(check(&"0f".repeat(32)), None);
    assert_eq!(check("sha256:0f"), None);
    assert_eq!(check(&format!("sha256:{}", "zz".repeat(32))), None);
    assert_eq!(check(&format!("sha256:{}", "é".repeat(32))), None);
    assert_eq!(check(&format!("sha256:+f{}", "0f".repeat(31))), None);
}
