//! Baseten: `v1/…` is one host for all; `model/{id}` has a host of its own, where an empty rest
//! means the prediction of the production deployment (data-plane section 2).

use super::append::plain;
use super::{Mapped, Names, invalid, segment};
use crate::error::Error;

pub(super) fn map(path: &str) -> Result<Mapped<'_>, Error> {
    let (first, rest) = segment::first(path);
    if first != "model" {
        return Ok(Mapped {
            path: plain(path),
            ..Mapped::default()
        });
    }
    let (model, rest) = segment::first(rest);
    let is_id = (1..=32).contains(&model.len())
        && model
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !is_id {
        return Err(invalid(
            "a Baseten model id is 1 to 32 lower-case letters and digits",
        ));
    }
    let below = if rest.is_empty() {
        "production/predict"
    } else {
        rest
    };
    Ok(Mapped {
        path: plain(path),
        elsewhere: Some(plain(below)),
        names: Names {
            model,
            ..Names::default()
        },
        ..Mapped::default()
    })
}
