//! Our own log: lines for people or JSON objects, on standard error.
//!
//! Nothing is logged for a single request at `info`; records are for that. No secret, no prompt
//! and no answer is ever logged.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{LogFormat, LogSettings};

/// Whether `text` can be used as [`LogSettings::level`]: levels, and `module=level`. A word alone
/// that is no level is refused, although the filter would take it for a module.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    text.split(',')
        .all(|word| word.contains('=') || is_level(word.trim()))
        && EnvFilter::try_new(text).is_ok()
}

/// Changes what is logged while the process runs.
#[derive(Clone, Debug)]
pub struct Telemetry(reload::Handle<EnvFilter, Registry>);

impl Telemetry {
    /// Logs by other directives from now on.
    ///
    /// # Errors
    /// They are malformed; nothing is changed.
    pub fn set_level(&self, level: &str) -> anyhow::Result<()> {
        Ok(self.0.reload(EnvFilter::try_new(level)?)?)
    }
}

/// Begins to log, for the whole process.
///
/// # Errors
/// The directives are malformed, or the process logs already.
pub fn start(settings: &LogSettings) -> anyhow::Result<Telemetry> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&settings.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match settings.format {
        LogFormat::Text => {
            let lines = fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(is_terminal);
            registry.with(lines).try_init()?;
        }
        LogFormat::Json => {
            let objects = fmt::layer()
                .with_writer(std::io::stderr)
                .json()
                .flatten_event(true)
                .with_ansi(false);
            registry.with(objects).try_init()?;
        }
    }
    Ok(Telemetry(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_of_levels() {
        for good in [
            "info",
            "off",
            "WARN",
            "info,isango_proxy=debug",
            "isango_proxy=trace",
        ] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "inof", "isango_proxy", "a=b", "info,,"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }
}
