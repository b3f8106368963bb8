//! What each part of the server gets of the settings.

use isango_backends::cache::Limits;
use isango_proxy::{serve, sink, upstream};
use isango_records::{Retention, Sync};
use isango_types::door::Door;

use super::{Config, Http2};

impl Config {
    /// The record store's share of the settings.
    pub(crate) fn to_store(&self) -> isango_records::Options {
        isango_records::Options {
            // The other half passes before records are written at all.
            sync: Sync::Window(self.records.flush_window / 2),
            retain: Retention {
                max_bytes: self.records.retention_bytes,
                max_age: self.records.retention_age,
                max_body_age: self.records.body_retention_age,
            },
            ..isango_records::Options::default()
        }
    }

    /// From where open gateways may be asked. Names are looked at where only this machine listens: a
    /// browser elsewhere is not let in by one that a page made up.
    pub(crate) fn to_door(&self) -> Door {
        let hosts = &self.server.allowed_hosts;
        Door {
            hosts: self.listen.ip().is_loopback().then(|| hosts.clone()),
            origins: self.server.allowed_origins.clone(),
        }
    }

    /// The cache's share of the settings.
    pub(crate) const fn to_cache(&self) -> Limits {
        Limits {
            memory_bytes: self.cache.memory_bytes,
            disk_bytes: self.cache.disk_bytes,
        }
    }

    /// How connections to others are made.
    pub(crate) fn upstream_settings(&self) -> upstream::Settings {
        upstream::Settings {
            connect_timeout: self.upstream.connect_timeout,
            pool_idle_timeout: self.upstream.pool_idle_timeout,
            pool_max_idle_per_host: self.upstream.pool_max_idle_per_host,
            http2: match self.upstream.http2 {
                Http2::Auto => upstream::Http2::Auto,
                Http2::Never => upstream::Http2::Never,
                Http2::Always => upstream::Http2::Always,
            },
            extra_ca_file: self.upstream.extra_ca_file.clone(),
        }
    }

    /// The data plane's share of the settings.
    pub(crate) fn to_proxy(&self) -> isango_proxy::Settings {
        isango_proxy::Settings {
            serving: serve::Settings {
                header_timeout: self.server.header_timeout,
                idle_timeout: self.server.idle_timeout,
            },
            upstream: self.upstream_settings(),
            sink: sink::Settings {
                // Half of the window gathers records for one write, half for one sync.
                flush_window: self.records.flush_window / 2,
                max_body_bytes: usize::try_from(self.records.max_queue_bytes).unwrap_or(usize::MAX),
                ..sink::Settings::default()
            },
            cache: isango_proxy::cache::Settings {
                max_entry_bytes: usize::try_from(self.cache.max_entry_bytes).unwrap_or(usize::MAX),
                ..isango_proxy::cache::Settings::default()
            },
        }
    }
}
