//! Amazon Bedrock: service and region are the first two segments, and the rest is what AWS sees
//! (data-plane section 2.1). A client signs the real address, so the rest crosses as it came.

use isango_types::Wire;

use super::append::plain;
use super::{Mapped, Names, invalid, segment};
use crate::error::Error;

const MANTLE: &str = "bedrock-mantle";
const SERVICES: [&str; 4] = [
    "bedrock-runtime",
    MANTLE,
    "bedrock",
    "bedrock-agent-runtime",
];

pub(super) fn map(path: &str) -> Result<Mapped<'_>, Error> {
    let (service, rest) = segment::first(path);
    let (region, rest) = segment::first(rest);
    if !SERVICES.contains(&service) {
        return Err(invalid(
            "the first segment behind the provider is bedrock-runtime, bedrock-mantle, bedrock or \
             bedrock-agent-runtime",
        ));
    }
    if !is_region(region) {
        return Err(invalid(
            "the segment behind the service is an AWS region, such as us-east-1",
        ));
    }
    let is_mantle = service == MANTLE;
    let is_anthropic = rest.starts_with("anthropic/");
    let wire = if is_anthropic {
        Wire::Anthropic
    } else if is_mantle || rest.starts_with("openai/") {
        Wire::Openai
    } else if service == "bedrock-runtime" {
        Wire::Bedrock
    } else {
        Wire::Opaque
    };
    Ok(Mapped {
        path: plain(rest),
        elsewhere: is_mantle.then(|| plain(rest)),
        names: Names {
            service,
            region,
            ..Names::default()
        },
        wire: Some(wire),
        credential_header: (is_mantle && is_anthropic).then_some("x-api-key"),
        // All but the one sign by this name (AWS service authorization reference, Amazon Bedrock;
        // read 2026-11-22).
        signs_as: Some(if is_mantle { MANTLE } else { "bedrock" }),
        ..Mapped::default()
    })
}

/// Two or three letters, one to three words, a number: `us-east-1`, `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let is_word = |word: &str| {
        (2..=12).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let is_number = |text: &str| {
        (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let Some((words, number)) = text.rsplit_once('-') else {
        return false;
    };
    is_number(number)
        && words.split('-').all(is_word)
        && (1..=3).contains(&words.matches('-').count())
}
