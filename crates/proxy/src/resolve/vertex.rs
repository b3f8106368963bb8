//! Google Vertex AI: the region stands behind `locations` and becomes part of the host; `global`,
//! and a path without a location, live on a host without a region (data-plane section 2).

use isango_types::Wire;

use super::append::plain;
use super::{Mapped, Names, invalid, segment};
use crate::error::Error;

pub(super) fn map(path: &str) -> Result<Mapped<'_>, Error> {
    let mut region = None;
    let mut wire = None;
    let mut segments = path.split('/');
    while let Some(segment) = segments.next() {
        match segment {
            "locations" if region.is_none() => {
                let named = segments.next().unwrap_or("");
                if !is_region(named) {
                    return Err(invalid(
                        "behind `locations` stands a Google Cloud region, such as us-central1",
                    ));
                }
                region = Some(named);
            }
            // Hidden from us, it would choose a region that nobody judged.
            hidden if region.is_none() && segment::spells(hidden, "locations") => {
                return Err(invalid("write `locations` in the path in plain lower case"));
            }
            "publishers" if wire.is_none() => {
                let publisher = segments.next().unwrap_or("");
                wire = Some(if segment::spells(publisher, "google") {
                    Wire::Gemini
                } else if segment::spells(publisher, "anthropic") {
                    Wire::Anthropic
                } else {
                    Wire::Opaque
                });
            }
            "endpoints"
                if wire.is_none()
                    && segments
                        .next()
                        .is_some_and(|name| segment::spells(name, "openapi")) =>
            {
                wire = Some(Wire::Openai);
            }
            _ => {}
        }
    }
    let region = region.unwrap_or("global");
    Ok(Mapped {
        path: plain(path),
        elsewhere: (region == "global").then(|| plain(path)),
        names: Names {
            region,
            ..Names::default()
        },
        wire,
        ..Mapped::default()
    })
}

/// Lower-case words and numbers with single hyphens between them: `us-central1`, `europe-west4`.
fn is_region(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}
