//! Metrics of a batch of records: what was added since the batch before (delta temporality), by the
//! conventions' names (semantic conventions of generative AI metrics, in development; read
//! 2026-11-23), with the cost beside them. A batch that is delivered twice is the same, times included.

use isango_types::Record;
use isango_types::genai::{
    DURATION_SECONDS, FIRST_TOKEN_SECONDS, MAX_SERIES, Sample, Series, TOKEN_SECONDS, TOKENS,
};

use super::{Signal, Value, attribute, field, fixed, json_attribute, number, request};
use crate::path::Whose;

/// The points tell what was added since the ones before.
const DELTA: u8 = 1;

/// What the records of a batch add.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Those that are asked for often come to stand first.
    series: Vec<(Key, Points)>,
}

/// [`Series`], kept.
#[derive(Debug)]
struct Key {
    operation: Box<str>,
    provider: Box<str>,
    asked: Box<str>,
    answered: Box<str>,
    error: Box<str>,
}

#[derive(Debug)]
struct Points {
    duration: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    input: Histogram,
    output: Histogram,
    /// In USD; `None`: no cost is known.
    cost: Option<f64>,
}

#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds.
    counts: Vec<u64>,
    count: u64,
    sum: f64,
    least: f64,
    most: f64,
}

impl Key {
    fn of(series: &Series<'_>) -> Self {
        Self {
            operation: series.operation.into(),
            provider: series.provider.into(),
            asked: series.asked.into(),
            answered: series.answered.into(),
            error: series.error.into(),
        }
    }

    fn as_series(&self) -> Series<'_> {
        Series {
            operation: &self.operation,
            provider: &self.provider,
            asked: &self.asked,
            answered: &self.answered,
            error: &self.error,
        }
    }
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            count: 0,
            sum: 0.0,
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
        }
    }

    fn add(&mut self, value: f64) {
        // A bound belongs to the bucket below it.
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.count += 1;
        self.sum += value;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }
}

impl Points {
    fn new() -> Self {
        Self {
            duration: Histogram::new(&DURATION_SECONDS),
            first_token: Histogram::new(&FIRST_TOKEN_SECONDS),
            per_token: Histogram::new(&TOKEN_SECONDS),
            input: Histogram::new(&TOKENS),
            output: Histogram::new(&TOKENS),
            cost: None,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the protocol has doubles for histograms and money"
    )]
    fn add(&mut self, sample: &Sample) {
        self.duration.add(sample.duration);
        for (histogram, value) in [
            (&mut self.first_token, sample.first_token),
            (&mut self.per_token, sample.per_token),
            (
                &mut self.input,
                sample.tokens.map(|(input, _)| input as f64),
            ),
            (
                &mut self.output,
                sample.tokens.map(|(_, output)| output as f64),
            ),
        ] {
            if let Some(value) = value {
                histogram.add(value);
            }
        }
        if let Some(nanousd) = sample.nanousd {
            *self.cost.get_or_insert(0.0) += nanousd as f64 / 1e9;
        }
    }
}

/// What a point tells.
enum Told<'m> {
    Histogram(&'m Histogram),
    Sum(f64),
}

/// One point with its attributes.
struct Point<'m> {
    attributes: Vec<(&'static str, &'m str)>,
    told: Told<'m>,
}

/// A metric's points of one series.
type PointsOf = fn(&Points) -> Vec<(Told<'_>, &'static str)>;

/// A metric: its name, its unit, what it is, and its points, with the type of token where there are
/// several.
type Metric = (&'static str, &'static str, &'static str, PointsOf);

const METRICS: [Metric; 5] = [
    (
        "gen_ai.client.operation.duration",
        "s",
        "From the request to the last byte of its answer",
        |of| one(Some(&of.duration)),
    ),
    (
        "gen_ai.client.token.usage",
        "{token}",
        "Tokens sent and received",
        |of| {
            let sent = one(Some(&of.input)).into_iter();
            let received = one(Some(&of.output)).into_iter();
            let sent = sent.map(|(told, _)| (told, "input"));
            sent.chain(received.map(|(told, _)| (told, "output")))
                .collect()
        },
    ),
    (
        "gen_ai.server.time_to_first_token",
        "s",
        "From the request to the first token of a stream",
        |of| one(Some(&of.first_token)),
    ),
    (
        "gen_ai.server.time_per_output_token",
        "s",
        "For each token of a stream behind the first",
        |of| one(Some(&of.per_token)),
    ),
    (
        "isango.cost",
        "USD",
        "What it cost, as far as that is known",
        |of| {
            let cost = of.cost.map(|usd| (Told::Sum(usd), ""));
            cost.into_iter().collect()
        },
    ),
];

/// A histogram that has seen something.
fn one(histogram: Option<&Histogram>) -> Vec<(Told<'_>, &'static str)> {
    let seen = histogram.filter(|histogram| histogram.count > 0);
    seen.map(|histogram| (Told::Histogram(histogram), ""))
        .into_iter()
        .collect()
}

impl Metrics {
    /// Adds a record; false: no provider was asked for it.
    pub(crate) fn add(&mut self, record: &Record) -> bool {
        let Some(series) = Series::of(record) else {
            return false;
        };
        let is_new = !self.holds(&series);
        let series = match is_new && self.series.len() >= MAX_SERIES {
            true => series.of_others(),
            false => series,
        };
        self.points(&series).add(&Sample::of(record));
        true
    }

    fn holds(&self, series: &Series<'_>) -> bool {
        self.series
            .iter()
            .any(|(key, _)| key.as_series() == *series)
    }

    fn points(&mut self, series: &Series<'_>) -> &mut Points {
        let found = self
            .series
            .iter()
            .position(|(key, _)| key.as_series() == *series);
        let at = match found {
            Some(at) => {
                let before = at.saturating_sub(1);
                self.series.swap(before, at);
                before
            }
            None => {
                self.series.push((Key::of(series), Points::new()));
                self.series.len() - 1
            }
        };
        &mut self.series[at].1
    }

    /// A whole request. `times`: since when these points count, and until when, in nanoseconds since
    /// 1970.
    pub(crate) fn request(
        &self,
        whose: Whose<'_>,
        times: (u64, u64),
        is_protobuf: bool,
    ) -> Vec<u8> {
        let mut all = Vec::new();
        for metric in &METRICS {
            let points = self.series.iter().flat_map(|(key, points)| {
                let told = (metric.3)(points).into_iter();
                told.map(|(told, token)| Point::new(whose, key, token, told))
            });
            let points: Vec<Point<'_>> = points.collect();
            if !points.is_empty() && is_protobuf {
                field(&mut all, 2, &as_protobuf(metric, &points, times));
            } else if !points.is_empty() {
                as_json(metric, &points, times, &mut all);
                all.push(b',');
            }
        }
        request(Signal::Metrics, &all, is_protobuf)
    }
}

impl<'m> Point<'m> {
    fn new(whose: Whose<'m>, key: &'m Key, token: &'m str, told: Told<'m>) -> Self {
        let all = [
            ("gen_ai.operation.name", &*key.operation),
            ("gen_ai.provider.name", &*key.provider),
            ("gen_ai.request.model", &*key.asked),
            ("gen_ai.response.model", &*key.answered),
            ("error.type", &*key.error),
            ("gen_ai.token.type", token),
            ("isango.account", whose.account),
            ("isango.gateway", whose.gateway.unwrap_or_default()),
        ];
        let set = all.into_iter().filter(|(_, value)| !value.is_empty());
        Self {
            attributes: set.collect(),
            told,
        }
    }

    fn json(&self, (start, end): (u64, u64), out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"attributes\":[");
        for (n, (name, value)) in self.attributes.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            json_attribute(name, &Value::Text((*value).into()), out);
        }
        let times = format!("],\"startTimeUnixNano\":\"{start}\",\"timeUnixNano\":\"{end}\",");
        out.extend_from_slice(times.as_bytes());
        let told = match &self.told {
            Told::Sum(sum) => format!("\"asDouble\":{sum}}}"),
            Told::Histogram(of) => {
                let counts: Vec<String> = of
                    .counts
                    .iter()
                    .map(|count| format!("\"{count}\""))
                    .collect();
                let bounds: Vec<String> = of.bounds.iter().map(f64::to_string).collect();
                format!(
                    "\"count\":\"{}\",\"sum\":{},\"min\":{},\"max\":{},\
                     \"bucketCounts\":[{}],\"explicitBounds\":[{}]}}",
                    of.count,
                    of.sum,
                    of.least,
                    of.most,
                    counts.join(","),
                    bounds.join(",")
                )
            }
        };
        out.extend_from_slice(told.as_bytes());
    }

    /// `NumberDataPoint`, or `HistogramDataPoint` (opentelemetry-proto 1.9, `metrics.proto`).
    fn protobuf(&self, (start, end): (u64, u64)) -> Vec<u8> {
        let mut out = Vec::new();
        fixed(&mut out, 2, start);
        fixed(&mut out, 3, end);
        let place = match &self.told {
            Told::Sum(sum) => {
                fixed(&mut out, 4, sum.to_bits());
                7
            }
            Told::Histogram(of) => {
                fixed(&mut out, 4, of.count);
                fixed(&mut out, 5, of.sum.to_bits());
                let counts = of.counts.iter().flat_map(|count| count.to_le_bytes());
                field(&mut out, 6, &counts.collect::<Vec<u8>>());
                let bounds = of.bounds.iter().flat_map(|bound| bound.to_le_bytes());
                field(&mut out, 7, &bounds.collect::<Vec<u8>>());
                fixed(&mut out, 11, of.least.to_bits());
                fixed(&mut out, 12, of.most.to_bits());
                9
            }
        };
        for (name, value) in &self.attributes {
            field(
                &mut out,
                place,
                &attribute(name, &Value::Text((*value).into())),
            );
        }
        out
    }
}

fn is_sum(points: &[Point<'_>]) -> bool {
    matches!(
        points.first(),
        Some(Point {
            told: Told::Sum(_),
            ..
        })
    )
}

fn as_json(
    (name, unit, about, _): &Metric,
    points: &[Point<'_>],
    times: (u64, u64),
    out: &mut Vec<u8>,
) {
    let (kind, more) = match is_sum(points) {
        true => ("sum", ",\"isMonotonic\":true"),
        false => ("histogram", ""),
    };
    let head = format!(
        "{{\"name\":\"{name}\",\"description\":\"{about}\",\"unit\":\"{unit}\",\
         \"{kind}\":{{\"aggregationTemporality\":{DELTA}{more},\"dataPoints\":["
    );
    out.extend_from_slice(head.as_bytes());
    for (n, point) in points.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        point.json(times, out);
    }
    out.extend_from_slice(b"]}}");
}

fn as_protobuf(
    (name, unit, about, _): &Metric,
    points: &[Point<'_>],
    times: (u64, u64),
) -> Vec<u8> {
    let mut data = Vec::new();
    for point in points {
        field(&mut data, 1, &point.protobuf(times));
    }
    number(&mut data, 2, DELTA.into());
    let place = match is_sum(points) {
        true => {
            number(&mut data, 3, 1);
            7
        }
        false => 9,
    };
    let mut out = Vec::new();
    field(&mut out, 1, name.as_bytes());
    field(&mut out, 2, about.as_bytes());
    field(&mut out, 3, unit.as_bytes());
    field(&mut out, place, &data);
    out
}

#[cfg(test)]
mod tests;
