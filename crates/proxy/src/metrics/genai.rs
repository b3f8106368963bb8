//! Metrics by the names that OpenTelemetry's conventions have for generative AI, as Prometheus writes
//! them: underscores for dots, and the unit behind (OpenTelemetry, "Prometheus and `OpenMetrics`
//! Compatibility"; read 2026-11-23).
//!
//! Models are named by clients: those of the first 200 series are told, and those of all others are
//! `other`.

use isango_types::Record;
use isango_types::genai::{
    DURATION_SECONDS, FIRST_TOKEN_SECONDS, MAX_SERIES, Sample, Series, TOKEN_SECONDS, TOKENS,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    gen_ai_operation_name: String,
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
    gen_ai_response_model: String,
    error_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    gen_ai_operation_name: String,
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
    gen_ai_response_model: String,
    gen_ai_token_type: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// What is registered.
#[derive(Debug)]
pub(crate) struct GenAi {
    duration: Histograms<Labels>,
    tokens: Histograms<TokenLabels>,
    first_token: Histograms<Labels>,
    per_token: Histograms<Labels>,
}

/// Finds the histograms of a record, on one thread.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Those that are asked for often come to stand first.
    series: Vec<Meters>,
}

/// The histograms of a series. What is `None` has not been seen, and is not shown.
#[derive(Debug)]
struct Meters {
    labels: Labels,
    duration: Histogram,
    first_token: Option<Histogram>,
    per_token: Option<Histogram>,
    tokens: Option<[Histogram; 2]>,
}

impl GenAi {
    pub(crate) fn new(to: &mut Registry) -> Self {
        let all = Self {
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_SECONDS)),
            tokens: Family::new_with_constructor(|| Histogram::new(TOKENS)),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_SECONDS)),
            per_token: Family::new_with_constructor(|| Histogram::new(TOKEN_SECONDS)),
        };
        to.register(
            "gen_ai_client_operation_duration_seconds",
            "From a request that a provider was asked for to the last byte of its answer",
            all.duration.clone(),
        );
        to.register(
            "gen_ai_client_token_usage",
            "Tokens sent and received, by request",
            all.tokens.clone(),
        );
        to.register(
            "gen_ai_server_time_to_first_token_seconds",
            "From a request to the first token of a stream",
            all.first_token.clone(),
        );
        to.register(
            "gen_ai_server_time_per_output_token_seconds",
            "For each token of a stream behind the first",
            all.per_token.clone(),
        );
        all
    }
}

impl Observed {
    /// Counts a record, if a provider was asked for it.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a bucket needs no more than 53 bits"
    )]
    pub(crate) fn observe(&mut self, metrics: &GenAi, record: &Record) {
        let Some(series) = Series::of(record) else {
            return;
        };
        let sample = Sample::of(record);
        let meters = self.meters(metrics, series);
        meters.duration.observe(sample.duration);
        let labels = &meters.labels;
        for (histogram, family, value) in [
            (
                &mut meters.first_token,
                &metrics.first_token,
                sample.first_token,
            ),
            (&mut meters.per_token, &metrics.per_token, sample.per_token),
        ] {
            if let Some(value) = value {
                histogram
                    .get_or_insert_with(|| family.get_or_create_owned(labels))
                    .observe(value);
            }
        }
        if let Some((input, output)) = sample.tokens {
            let of_tokens = meters.tokens.get_or_insert_with(|| {
                ["input", "output"]
                    .map(|token| metrics.tokens.get_or_create_owned(&labels.of_tokens(token)))
            });
            of_tokens[0].observe(input as f64);
            of_tokens[1].observe(output as f64);
        }
    }

    fn meters(&mut self, metrics: &GenAi, series: Series<'_>) -> &mut Meters {
        let at = self.find(&series).unwrap_or_else(|| {
            let told = match self.series.len() < MAX_SERIES {
                true => series,
                false => series.of_others(),
            };
            self.find(&told).unwrap_or_else(|| {
                self.series.push(Meters::new(metrics, &told));
                self.series.len() - 1
            })
        });
        let before = at.saturating_sub(1);
        self.series.swap(before, at);
        &mut self.series[before]
    }

    fn find(&self, series: &Series<'_>) -> Option<usize> {
        let mut all = self.series.iter();
        all.position(|meters| meters.labels.as_series() == *series)
    }
}

impl Meters {
    fn new(metrics: &GenAi, series: &Series<'_>) -> Self {
        let labels = Labels {
            gen_ai_operation_name: series.operation.to_owned(),
            gen_ai_provider_name: series.provider.to_owned(),
            gen_ai_request_model: series.asked.to_owned(),
            gen_ai_response_model: series.answered.to_owned(),
            error_type: series.error.to_owned(),
        };
        Self {
            duration: metrics.duration.get_or_create_owned(&labels),
            first_token: None,
            per_token: None,
            tokens: None,
            labels,
        }
    }
}

impl Labels {
    fn as_series(&self) -> Series<'_> {
        Series {
            operation: &self.gen_ai_operation_name,
            provider: &self.gen_ai_provider_name,
            asked: &self.gen_ai_request_model,
            answered: &self.gen_ai_response_model,
            error: &self.error_type,
        }
    }

    fn of_tokens(&self, gen_ai_token_type: &'static str) -> TokenLabels {
        TokenLabels {
            gen_ai_operation_name: self.gen_ai_operation_name.clone(),
            gen_ai_provider_name: self.gen_ai_provider_name.clone(),
            gen_ai_request_model: self.gen_ai_request_model.clone(),
            gen_ai_response_model: self.gen_ai_response_model.clone(),
            gen_ai_token_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use isango_types::record::Attempt;
    use isango_types::{Operation, RecordId, Timestamp, Usage};
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn record(model: &str) -> Record {
        let mut record = isango_store::conformance::sample::record(1);
        record.id = RecordId::new(Timestamp::default());
        record.operation = Operation::Chat;
        record.provider = Some("azure-openai".into());
        record.model_requested = Some(model.into());
        record.model = Some("gpt-4o-2024-08-06".into());
        record.attempts = vec![Attempt::default()];
        record.error = None;
        record.timing.total_us = 1_200_000;
        record.timing.ttft_us = Some(200_000);
        record.usage = Some(Usage {
            input: 300,
            output: 11,
            ..Usage::default()
        });
        record
    }

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn a_request_is_told_by_the_names_of_the_conventions() {
        let mut registry = Registry::default();
        let (metrics, mut observed) = (GenAi::new(&mut registry), Observed::default());
        observed.observe(&metrics, &record("gpt-4o"));
        let mut unasked = record("gpt-4o");
        unasked.attempts.clear();
        observed.observe(&metrics, &unasked);
        let text = text(&registry);
        let of = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"azure.ai.openai\",\
                  gen_ai_request_model=\"gpt-4o\",gen_ai_response_model=\"gpt-4o-2024-08-06\"";
        for line in [
            format!("gen_ai_client_operation_duration_seconds_sum{{{of},error_type=\"\"}} 1.2"),
            format!("gen_ai_client_operation_duration_seconds_count{{{of},error_type=\"\"}} 1"),
            format!("gen_ai_client_token_usage_sum{{{of},gen_ai_token_type=\"input\"}} 300.0"),
            format!("gen_ai_client_token_usage_sum{{{of},gen_ai_token_type=\"output\"}} 11.0"),
            format!("gen_ai_server_time_to_first_token_seconds_sum{{{of},error_type=\"\"}} 0.2"),
            format!("gen_ai_server_time_per_output_token_seconds_sum{{{of},error_type=\"\"}} 0.1"),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }

    #[test]
    fn models_beyond_the_first_are_others() {
        let mut registry = Registry::default();
        let (metrics, mut observed) = (GenAi::new(&mut registry), Observed::default());
        for n in 0..MAX_SERIES + 50 {
            observed.observe(&metrics, &record(&format!("m{n}")));
        }
        observed.observe(&metrics, &record("m7"));
        let text = text(&registry);
        let counts = text
            .lines()
            .filter(|line| line.starts_with("gen_ai_client_operation_duration_seconds_count"));
        assert_eq!(counts.clone().count(), MAX_SERIES + 1);
        let told = |model: &str| {
            let label = format!("gen_ai_request_model=\"{model}\"");
            let mut lines = counts.clone().filter(|line| line.contains(&label));
            lines.next().map(|line| line.rsplit(' ').next().unwrap())
        };
        assert_eq!(told("m7"), Some("2"));
        assert_eq!(told("m200"), None);
        assert_eq!(told("other"), Some("50"));
    }
}
