//! Figures to a table and to JSON.

use std::fmt;

use serde::Serialize;

/// The most that Isango may cost, in multiples of nginx: CPU per small request, with records on.
const MAX_REQUEST_RATIO: f64 = 2.0;
/// The same for an answer out of the cache.
const MAX_HIT_RATIO: f64 = 1.5;
/// The same for an event that crosses on its own.
const MAX_EVENT_RATIO: f64 = 1.4;

/// What was measured of one subject: a value per round, or a sample per request.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) cpu_us_per_request: Vec<f64>,
    pub(crate) per_second: Vec<f64>,
    pub(crate) cpu_us_per_event: Vec<f64>,
    pub(crate) cpu_us_per_flood_event: Vec<f64>,
    pub(crate) open_ns: Vec<u64>,
    pub(crate) alone_ns: Vec<u64>,
    pub(crate) first_event_ns: Vec<u64>,
    pub(crate) idle_kib: u64,
    pub(crate) loaded_kib: u64,
}

/// Percentiles of a latency and what of it the subject added to the direct way, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Latency {
    p50_us: f64,
    p99_us: f64,
    added_p50_us: f64,
    added_p99_us: f64,
}

/// One subject's line: medians over the rounds, percentiles over all samples.
#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    /// CPU of its processes for one JSON request, 1 KiB each way, closed loop.
    cpu_us_per_request: Option<f64>,
    /// Requests that were answered in a second, closed loop.
    per_second: Option<f64>,
    /// CPU for one event of a stream, each event on its own.
    cpu_us_per_event: Option<f64>,
    /// CPU for one event of a stream that the provider writes at once.
    cpu_us_per_flood_event: Option<f64>,
    /// At a fixed rate over all connections.
    open_loop: Option<Latency>,
    /// One request after the other.
    alone: Option<Latency>,
    /// To the first event of a stream.
    first_event: Option<Latency>,
    idle_kib: u64,
    loaded_kib: u64,
}

/// What Isango costs in multiples of nginx: medians of each round's ratio.
#[derive(Debug, Serialize)]
struct Ratios {
    request: f64,
    hit: f64,
    event: f64,
    flood_event: f64,
}

/// The whole bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    subjects: Vec<Line>,
    isango_to_nginx: Option<Ratios>,
}

impl Report {
    /// Sums up what was measured; the first subject is the direct way.
    pub(crate) fn new(measured: impl Iterator<Item = (&'static str, Figures)>) -> Self {
        let measured: Vec<(&'static str, Figures)> = measured.collect();
        let named = |name| {
            measured
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, found)| found)
        };
        let isango_to_nginx = named("isango")
            .zip(named("nginx"))
            .map(|(isango, nginx)| Ratios {
                request: ratio(&isango.cpu_us_per_request, &nginx.cpu_us_per_request),
                hit: named("isango, cache")
                    .zip(named("nginx, cache"))
                    .map_or(f64::NAN, |(ours, theirs)| {
                        ratio(&ours.cpu_us_per_request, &theirs.cpu_us_per_request)
                    }),
                event: ratio(&isango.cpu_us_per_event, &nginx.cpu_us_per_event),
                flood_event: ratio(
                    &isango.cpu_us_per_flood_event,
                    &nginx.cpu_us_per_flood_event,
                ),
            });
        let direct = measured.first().map(|(_, figures)| figures);
        let subjects = measured
            .iter()
            .map(|(name, figures)| line(name, figures, direct))
            .collect();
        Self {
            subjects,
            isango_to_nginx,
        }
    }

    /// What costs more than it may.
    pub(crate) fn failed_gates(&self) -> Vec<String> {
        let Some(ratios) = &self.isango_to_nginx else {
            return Vec::new();
        };
        let gates = [
            ("per request", ratios.request, MAX_REQUEST_RATIO),
            ("per hit", ratios.hit, MAX_HIT_RATIO),
            ("per event", ratios.event, MAX_EVENT_RATIO),
        ];
        let failed = gates.iter().filter(|(_, ratio, most)| ratio > most);
        failed
            .map(|(what, ratio, most)| {
                format!("CPU {what} is {ratio:.2} times nginx's, more than {most}")
            })
            .collect()
    }
}

fn line(name: &'static str, figures: &Figures, direct: Option<&Figures>) -> Line {
    let charged = |values: &[f64]| median(values).filter(|cpu| *cpu > 0.0);
    let added = |of: fn(&Figures) -> &Vec<u64>| latency(of(figures), direct.map(of));
    Line {
        name,
        cpu_us_per_request: charged(&figures.cpu_us_per_request),
        per_second: median(&figures.per_second),
        cpu_us_per_event: charged(&figures.cpu_us_per_event),
        cpu_us_per_flood_event: charged(&figures.cpu_us_per_flood_event),
        open_loop: added(|figures| &figures.open_ns),
        alone: added(|figures| &figures.alone_ns),
        first_event: added(|figures| &figures.first_event_ns),
        idle_kib: figures.idle_kib,
        loaded_kib: figures.loaded_kib,
    }
}

fn latency(samples: &[u64], direct: Option<&Vec<u64>>) -> Option<Latency> {
    let (p50_us, p99_us) = percentiles(samples)?;
    let (direct_p50, direct_p99) = percentiles(direct?)?;
    Some(Latency {
        p50_us,
        p99_us,
        added_p50_us: p50_us - direct_p50,
        added_p99_us: p99_us - direct_p99,
    })
}

/// The 50th and the 99th of a hundred, in microseconds.
fn percentiles(nanos: &[u64]) -> Option<(f64, f64)> {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let nanos = sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?))?;
        Some(as_f64(*nanos) / 1_000.0)
    };
    Some((at(50)?, at(99)?))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    median(&ratios).unwrap_or(f64::NAN)
}

/// A count as a float: exact up to 2^53, and none here is larger.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench stay below 2^53"
)]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<18} {:>9} {:>9} {:>9} {:>9}  {:>15}  {:>15}  {:>15}  {:>15}",
            "",
            "requests",
            "CPU µs",
            "CPU µs",
            "CPU µs",
            "open loop",
            "alone",
            "first event",
            "memory"
        )?;
        writeln!(
            f,
            "{:<18} {:>9} {:>9} {:>9} {:>9}  {:>15}  {:>15}  {:>15}  {:>15}",
            "",
            "/s",
            "/request",
            "/event",
            "/flooded",
            "p50 / p99 µs",
            "p50 / p99 µs",
            "p50 / p99 µs",
            "idle/loaded MiB"
        )?;
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let pair = |latency: Option<Latency>| {
            latency.map_or("-".to_owned(), |at| {
                format!("{:.0} / {:.0}", at.p50_us, at.p99_us)
            })
        };
        let added = |latency: Option<Latency>| {
            latency.map_or("-".to_owned(), |at| {
                format!("{:+.0} / {:+.0}", at.added_p50_us, at.added_p99_us)
            })
        };
        for line in &self.subjects {
            let memory = format!("{} / {}", line.idle_kib >> 10, line.loaded_kib >> 10);
            writeln!(
                f,
                "{:<18} {:>9} {:>9} {:>9} {:>9}  {:>15}  {:>15}  {:>15}  {:>15}",
                line.name,
                line.per_second
                    .map_or("-".to_owned(), |n| format!("{n:.0}")),
                number(line.cpu_us_per_request),
                number(line.cpu_us_per_event),
                number(line.cpu_us_per_flood_event),
                pair(line.open_loop),
                pair(line.alone),
                pair(line.first_event),
                memory
            )?;
            if line.cpu_us_per_event.is_some() {
                writeln!(
                    f,
                    "{:<18} {:>9} {:>9} {:>9} {:>9}  {:>15}  {:>15}  {:>15}",
                    "  added",
                    "",
                    "",
                    "",
                    "",
                    added(line.open_loop),
                    added(line.alone),
                    added(line.first_event)
                )?;
            }
        }
        if let Some(ratios) = &self.isango_to_nginx {
            writeln!(
                f,
                "\nisango / nginx: {:.2} per request (at most {MAX_REQUEST_RATIO}), {:.2} per hit \
                 (at most {MAX_HIT_RATIO}), {:.2} per event (at most {MAX_EVENT_RATIO}), {:.2} per \
                 flooded event",
                ratios.request, ratios.hit, ratios.event, ratios.flood_event
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(cpu: f64, nanos: u64) -> Figures {
        Figures {
            cpu_us_per_request: vec![cpu, cpu * 2.0, cpu * 9.0],
            cpu_us_per_event: vec![cpu],
            open_ns: (1..=100).map(|index| nanos * index).collect(),
            ..Figures::default()
        }
    }

    #[test]
    fn a_report_compares_round_by_round() {
        let measured = [
            ("direct", subject(0.0, 1_000)),
            ("nginx", subject(10.0, 2_000)),
            ("isango", subject(15.0, 3_000)),
        ];
        let report = Report::new(measured.into_iter());
        let isango = &report.subjects[2];
        assert_eq!(isango.cpu_us_per_request, Some(30.0));
        let latency = isango.open_loop.unwrap();
        assert_eq!((latency.p50_us, latency.p99_us), (153.0, 300.0));
        assert_eq!((latency.added_p50_us, latency.added_p99_us), (102.0, 200.0));
        assert_eq!(
            report.failed_gates(),
            ["CPU per event is 1.50 times nginx's, more than 1.4"]
        );
    }
}
