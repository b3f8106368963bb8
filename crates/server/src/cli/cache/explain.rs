//! Why a request was or was not answered from the cache, in words.

use std::io::{self, Write};

use isango_types::Record;
use isango_types::price::format_usd;
use isango_types::record::{CacheStatus, CacheUse};

use crate::cli::logs::plain;

/// Prints the explanation of a record.
pub(super) fn print(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    let Some(cache) = &record.cache else {
        return writeln!(
            out,
            "BYPASS: nothing asked for the cache: no cf-aig-cache-ttl, no cf-aig-cache-key, and no \
             cache_ttl of the gateway; or cf-aig-cache-ttl: 0"
        );
    };
    let status = cache.status.as_header();
    match cache.status {
        CacheStatus::Hit if cache.joined => {
            writeln!(out, "{status}: joined an equal request that was under way")?;
        }
        CacheStatus::Hit => writeln!(out, "{status}: an equal question had been answered")?,
        CacheStatus::Stale => {
            writeln!(out, "{status}: the provider failed, an old answer stood in")?;
        }
        CacheStatus::Miss | CacheStatus::Bypass => {
            let none = "no equal question had been answered";
            let reason = cache.reason.as_deref().unwrap_or(none);
            writeln!(out, "{status}: {}", plain(reason))?;
        }
    }
    details(cache, out)
}

fn details(cache: &CacheUse, out: &mut dyn Write) -> io::Result<()> {
    let mut fact = |name: &str, value: &str| writeln!(out, "  {name:<12}{}", plain(value));
    if let Some(key) = &cache.key {
        fact("key", key)?;
    }
    if let Some(filled_by) = cache.filled_by {
        fact("paid by", &filled_by.to_string())?;
    }
    if let Some(age) = cache.age_s {
        fact("age", &format!("{age} s"))?;
    }
    if let Some(saved) = &cache.saved {
        let tokens = saved.usage.map_or(0, |usage| usage.total());
        let usd = saved.nanousd.map_or("unknown".to_owned(), |nanousd| {
            format!("${}", format_usd(nanousd))
        });
        let ms = saved.us / 1_000;
        fact("saved", &format!("{usd}, {tokens} tokens, {ms} ms"))?;
    }
    if let Some(nearest) = cache.nearest {
        fact("nearest", &nearest.to_string())?;
        fact("differs in", &cache.differs.join(", "))?;
    }
    if let Some(fill) = &cache.fill {
        fact("the answer", fill)?;
    }
    Ok(())
}
