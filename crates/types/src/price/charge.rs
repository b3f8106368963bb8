//! What providers charge for, and the rates of one price.

use serde::de;

use super::decimal::parse_usd;
use crate::usage::Usage;

/// One thing that a provider charges for: each bucket of [`Usage`], and the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Charge {
    /// Uncached text input, per token.
    Input,
    /// Input read from the prompt cache, per token.
    CacheRead,
    /// Input written to the prompt cache, per token.
    CacheWrite,
    /// Input written to the prompt cache for an hour, per token.
    CacheWrite1h,
    /// Audio input, per token.
    AudioInput,
    /// Audio input read from the prompt cache, per token.
    AudioCacheRead,
    /// Image input, per token.
    ImageInput,
    /// Text output, per token.
    Output,
    /// Reasoning, per token.
    Reasoning,
    /// Audio output, per token.
    AudioOutput,
    /// Image output, per token.
    ImageOutput,
    /// Images made, each.
    Image,
    /// Searches and other tool calls that are billed by piece, each.
    Search,
    /// Duration of audio, per hour.
    Audio,
    /// Characters of input, per million.
    Character,
    /// The request itself, whatever it consumed.
    Request,
}

impl Charge {
    /// Every charge, in the order of the buckets.
    pub const ALL: [Self; 16] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::AudioInput,
        Self::AudioCacheRead,
        Self::ImageInput,
        Self::Output,
        Self::Reasoning,
        Self::AudioOutput,
        Self::ImageOutput,
        Self::Image,
        Self::Search,
        Self::Audio,
        Self::Character,
        Self::Request,
    ];

    /// Its key in price rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::AudioCacheRead => "audio_cache_read",
            Self::ImageInput => "image_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
            Self::Image => "image",
            Self::Search => "search",
            Self::Audio => "audio_hour",
            Self::Character => "character",
            Self::Request => "request",
        }
    }

    /// How many units of [`Charge::quantity`] its rate is for: a million tokens or characters, the
    /// milliseconds of an hour, or one piece.
    #[must_use]
    pub const fn per(self) -> u64 {
        match self {
            Self::Input
            | Self::CacheRead
            | Self::CacheWrite
            | Self::CacheWrite1h
            | Self::AudioInput
            | Self::AudioCacheRead
            | Self::ImageInput
            | Self::Output
            | Self::Reasoning
            | Self::AudioOutput
            | Self::ImageOutput
            | Self::Character => 1_000_000,
            Self::Audio => 3_600_000,
            Self::Image | Self::Search | Self::Request => 1,
        }
    }

    /// Whose rate holds where a price names none for this charge.
    ///
    /// Only what providers themselves bill as the more general kind: a cached token is an input
    /// token, an image that a chat model reads is input, reasoning is output. Audio and images
    /// that a model makes cost a multiple of text, so they need a rate of their own.
    #[must_use]
    pub const fn general(self) -> Option<Self> {
        match self {
            Self::CacheRead | Self::CacheWrite | Self::ImageInput => Some(Self::Input),
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::AudioCacheRead => Some(Self::AudioInput),
            Self::Reasoning => Some(Self::Output),
            Self::Input
            | Self::AudioInput
            | Self::Output
            | Self::AudioOutput
            | Self::ImageOutput
            | Self::Image
            | Self::Search
            | Self::Audio
            | Self::Character
            | Self::Request => None,
        }
    }

    /// How much of it `usage` holds: tokens, pieces, characters or milliseconds; one request.
    #[must_use]
    pub const fn quantity(self, usage: &Usage) -> u64 {
        Self::quantities(usage)[self as usize]
    }

    /// The quantities of [`Charge::ALL`].
    pub(super) const fn quantities(usage: &Usage) -> [u64; Self::ALL.len()] {
        [
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.cache_write_1h,
            usage.audio_input,
            usage.audio_cache_read,
            usage.image_input,
            usage.output,
            usage.reasoning,
            usage.audio_output,
            usage.image_output,
            usage.images,
            usage.searches,
            usage.audio_ms,
            usage.characters,
            1,
        ]
    }

    /// The charge of a key of a price row, and how often its amount goes into the rate.
    pub(super) fn of_key(key: &str) -> Option<(Self, u64)> {
        if key == "audio_minute" {
            return Some((Self::Audio, 60));
        }
        Self::ALL
            .into_iter()
            .find(|charge| charge.as_str() == key)
            .map(|charge| (charge, 1))
    }
}

/// Nano-dollars by charge, each for [`Charge::per`] units; `None` where the price names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates([Option<u64>; Charge::ALL.len()]);

impl Rates {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    pub(super) fn own(&self, charge: Charge) -> Option<u64> {
        self.0[charge as usize]
    }

    /// Reads the amount that stands at `key`.
    ///
    /// # Errors
    /// The key is no charge (`expected` lists the keys that are), stands twice, or its amount is
    /// none.
    pub(super) fn read<'de, A: de::MapAccess<'de>>(
        &mut self,
        key: &str,
        expected: &'static [&'static str],
        map: &mut A,
    ) -> Result<(), A::Error> {
        use de::Error;
        let Some((charge, times)) = Charge::of_key(key) else {
            return Err(A::Error::unknown_field(key, expected));
        };
        let Amount(nanousd) = map.next_value()?;
        let rate = nanousd
            .checked_mul(times)
            .ok_or_else(|| A::Error::custom("too large"))?;
        match self.0[charge as usize].replace(rate) {
            None => Ok(()),
            Some(_) => Err(A::Error::custom(format_args!("a second rate for `{key}`"))),
        }
    }
}

/// An amount of dollars in a price row, in nano-dollars: a text, or a number as it is written.
struct Amount(u64);

impl<'de> de::Deserialize<'de> for Amount {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct AmountVisitor;

impl de::Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an amount of US dollars such as \"2.50\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        parse_usd(text)
            .map(Amount)
            .map_err(|error| E::custom(format_args!("`{text}`: {error}")))
    }

    fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<Amount, E> {
        self.visit_str(&dollars.to_string())
    }

    fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<Amount, E> {
        self.visit_str(&dollars.to_string())
    }

    /// The shortest decimal that reads as this float is what its author wrote.
    fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Amount, E> {
        self.visit_str(&dollars.to_string())
    }
}
