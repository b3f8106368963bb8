//! What an exchange cost, in integer nano-dollars.
//!
//! A [`PriceTable`] is the bundled list (`prices.json`) under the operator's own rows. It is
//! immutable; a record names the row and the version that priced it, and nothing is priced again
//! on its own. What has no price stays `unpriced`: there is no default rate and no silent 0.
//!
//! Only standard rates are listed. Discounts for batches, service tiers and contracts are not
//! known here; an operator who has them sets rows of their own.

mod charge;
mod custom;
mod decimal;
mod name;
mod row;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::usage::Usage;

pub use charge::Charge;
pub use custom::{CustomCost, CustomCostError};
pub use decimal::{AmountError, format_usd, parse_usd};
pub use row::PriceRow;
use row::{Day, Period};

/// What one exchange cost, or why that is not known. Never a silent 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// How far `nanousd` is to be trusted.
    pub status: CostStatus,
    /// The amount in nano-dollars (10⁻⁹ USD); `None` when it is not known.
    pub nanousd: Option<u64>,
    /// Which row of which version of the price list gave it (`2026-11-22/openai/gpt-4o`), or
    /// `configured/…` for a row of the operator's. The provider in it is the row's: that of the
    /// host's price list, which may be another's (Azure OpenAI has OpenAI's prices).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Box<str>>,
}

impl Cost {
    /// Most that one exchange can cost, in nano-dollars: a million dollars. What comes out higher
    /// comes from a broken usage or a wrong rate.
    pub const MAX_NANOUSD: u64 = 1_000_000_000_000_000;

    /// The cost of an exchange in which nothing was bought: 0.
    #[must_use]
    pub const fn free() -> Self {
        Self {
            status: CostStatus::Free,
            nanousd: Some(0),
            price: None,
        }
    }

    /// A cost that is not known, and why.
    #[must_use]
    pub const fn unknown(status: CostStatus) -> Self {
        Self {
            status,
            nanousd: None,
            price: None,
        }
    }
}

/// How a cost came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostStatus {
    /// The provider's usage times the price list.
    Priced,
    /// A usage that we counted times the price list.
    Estimated,
    /// The client's `cf-aig-custom-cost`.
    Custom,
    /// Nothing was bought: refused, failed, or a call that providers do not bill.
    Free,
    /// There is a usage but no price for this model, or none for a part of it.
    Unpriced,
    /// Something was bought but the answer told no usage.
    #[default]
    NoUsage,
}

impl CostStatus {
    /// The name in records, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Estimated => "estimated",
            Self::Custom => "custom",
            Self::Free => "free",
            Self::Unpriced => "unpriced",
            Self::NoUsage => "no_usage",
        }
    }
}

/// Version in [`Cost::price`] of rows that the operator set.
const CONFIGURED: &str = "configured";
/// Version in [`Cost::price`] of rows that an account set for itself.
const OWN: &str = "own";

/// What tokens cost: the bundled list, with the operator's rows in front of it, and an account's own
/// in front of both. Cheap to clone;
/// the default has no prices at all.
#[derive(Clone, Debug, Default)]
pub struct PriceTable {
    list: Arc<List>,
    configured: Names<Book>,
    /// Of the account that the table is for.
    own: Names<Book>,
}

/// What is looked up by a name that the operator or the list gave, so that nobody can choose names
/// that collide, and FNV-1a will do.
type Names<T> = HashMap<Box<str>, T, BuildHasherDefault<Fnv>>;

/// Fowler, Noll and Vo's hash, its variant 1a of 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A price list by provider.
#[derive(Debug, Default)]
struct List {
    version: Box<str>,
    /// Where its facts were collected.
    source: Box<str>,
    providers: Names<Provider>,
}

#[derive(Debug, Default)]
struct Provider {
    source: Box<str>,
    /// Slug of the provider whose prices hold where this one has none of its own.
    prices_of: Option<Box<str>>,
    book: Book,
}

/// The models of one provider.
#[derive(Clone, Debug, Default)]
struct Book {
    models: Vec<Model>,
    /// Index in `models` by id and other exact names, lower case.
    exact: Names<usize>,
    /// Patterns for other names, tried in their order.
    patterns: Vec<(Pattern, usize)>,
}

#[derive(Clone, Debug)]
struct Model {
    id: Box<str>,
    /// What [`Cost::price`] calls it: `<version>/<provider>/<id>`.
    label: Box<str>,
    /// In the order of the list; of those in force the last one holds.
    periods: Vec<Period>,
}

#[derive(Clone, Debug)]
enum Pattern {
    StartsWith(Box<str>),
    Contains(Box<str>),
}

/// Why a price list or the operator's rows were refused.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// The list is not of the expected form.
    #[error("the price list cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A row contradicts itself or another one.
    #[error("the price of `{provider}/{model}` {problem}")]
    Row {
        /// Provider of the row.
        provider: Box<str>,
        /// Model of the row.
        model: Box<str>,
        /// What is wrong, as the rest of a sentence.
        problem: Box<str>,
    },
}

/// The form of `prices.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    version: Box<str>,
    source: Box<str>,
    /// When rows begin that do not say so.
    effective_from: Day,
    providers: HashMap<Box<str>, ProviderFile>,
    rows: Vec<PriceRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderFile {
    source: Box<str>,
    prices_of: Option<Box<str>>,
}

impl PriceTable {
    /// The list that this version of Isango was built with.
    #[must_use]
    pub fn bundled() -> Self {
        static LIST: LazyLock<Arc<List>> = LazyLock::new(|| {
            #[expect(
                clippy::expect_used,
                reason = "it is part of the program; a test reads it"
            )]
            let list = List::parse(include_str!("prices.json")).expect("the bundled list is valid");
            Arc::new(list)
        });
        Self {
            list: Arc::clone(&LIST),
            configured: Names::default(),
            own: Names::default(),
        }
    }

    /// Reads a price list of the form of `prices.json`.
    ///
    /// # Errors
    /// The text is no such list, or a row contradicts itself or another.
    pub fn parse(json: &str) -> Result<Self, PriceError> {
        Ok(Self {
            list: Arc::new(List::parse(json)?),
            configured: Names::default(),
            own: Names::default(),
        })
    }

    /// This list with `rows` in front of it, in place of those it had there: where one of them is
    /// in force for a model, it alone prices it. A rate that it does not name is not taken from
    /// the list.
    ///
    /// # Errors
    /// A row contradicts itself or another.
    pub fn with_overrides(&self, rows: Vec<PriceRow>) -> Result<Self, PriceError> {
        Ok(Self {
            configured: books(rows, CONFIGURED)?,
            ..self.clone()
        })
    }

    /// This table with an account's own `rows` in front of everything, in place of those it had
    /// there.
    ///
    /// # Errors
    /// A row contradicts itself or another.
    pub fn with_own(&self, rows: Vec<PriceRow>) -> Result<Self, PriceError> {
        Ok(Self {
            own: books(rows, OWN)?,
            ..self.clone()
        })
    }

    /// Slugs of the providers that have prices, in alphabetical order.
    #[must_use]
    pub fn providers(&self) -> Vec<&str> {
        let listed = self.list.providers.keys();
        let mut slugs: Vec<_> = self
            .own
            .keys()
            .chain(self.configured.keys())
            .chain(listed)
            .map(|slug| &**slug)
            .collect();
        slugs.sort_unstable();
        slugs.dedup();
        slugs
    }

    /// Ids of the models that have a price of their own at `provider` (a slug), in alphabetical
    /// order.
    #[must_use]
    pub fn models(&self, provider: &str) -> Vec<&str> {
        let listed = self.list.providers.get(provider).map(|listed| &listed.book);
        let own = self.own.get(provider).into_iter();
        let books = own.chain(self.configured.get(provider)).chain(listed);
        let mut ids: Vec<_> = books
            .flat_map(|book| &book.models)
            .map(|model| &*model.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Version of the list, a date.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.list.version
    }

    /// Where the facts of the list were collected.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.list.source
    }

    /// What `usage` of `model` at `provider` (a slug) cost at `at`.
    ///
    /// `unpriced` when no row is in force for the model or the row has no rate for something in
    /// the usage; `no_usage` when the usage is empty. A cost beyond `u64` saturates.
    #[must_use]
    pub fn cost(&self, provider: &str, model: &str, usage: &Usage, at: Timestamp) -> Cost {
        let Some(price) = self.find(provider, model, at) else {
            let nothing = if usage.is_empty() {
                CostStatus::NoUsage
            } else {
                CostStatus::Unpriced
            };
            return Cost::unknown(nothing);
        };
        if usage.is_empty() && price.period.charges_no_request() {
            return Cost::unknown(CostStatus::NoUsage);
        }
        match price.period.nanousd(usage) {
            None => Cost::unknown(CostStatus::Unpriced),
            Some(nanousd) => Cost {
                status: if usage.estimated {
                    CostStatus::Estimated
                } else {
                    CostStatus::Priced
                },
                nanousd: Some(nanousd),
                price: Some(price.model.label.clone()),
            },
        }
    }

    /// What `usage` cost by the first of some names of the model that has a price: the better names
    /// come first. One that cannot be, beyond [`Cost::MAX_NANOUSD`], is told all the same.
    #[must_use]
    pub fn cost_as<'m>(
        &self,
        provider: &str,
        models: impl IntoIterator<Item = &'m str>,
        usage: &Usage,
        at: Timestamp,
    ) -> Cost {
        let mut cost = Cost::unknown(CostStatus::Unpriced);
        for model in models {
            cost = self.cost(provider, model, usage, at);
            if cost.nanousd.is_some() {
                break;
            }
        }
        cost
    }

    /// What `usage` cost at least, in nano-dollars: those parts of it that the price of the model
    /// has a rate for. `None`: the model has no price. A budget counts this where the cost is not
    /// known; nobody is told it as a cost.
    #[must_use]
    pub fn known_nanousd(
        &self,
        provider: &str,
        model: &str,
        usage: &Usage,
        at: Timestamp,
    ) -> Option<u64> {
        let price = self.find(provider, model, at)?;
        Some(price.period.known_nanousd(usage).0)
    }

    /// The price of `model` at `provider` (a slug) that is in force at `at`.
    ///
    /// Looks for the exact name, then without date, version and leading path segments, then by
    /// patterns; in the account's own rows before the operator's, and in those before the list. Case does not matter. A provider that
    /// sells another's models at the other's prices is looked up there in the end, but never for
    /// a fine-tuned model.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str, at: Timestamp) -> Option<Price<'_>> {
        let name = if model.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(model.to_ascii_lowercase())
        } else {
            Cow::Borrowed(model)
        };
        self.find_at(provider, &name, at).or_else(|| {
            let other = self.list.providers.get(provider)?.prices_of.as_deref()?;
            if name::is_fine_tuned(&name) {
                None
            } else {
                self.find_at(other, &name, at)
            }
        })
    }

    fn find_at<'t>(&'t self, slug: &str, name: &str, at: Timestamp) -> Option<Price<'t>> {
        let of = |books: &'t Names<Book>, source| {
            let (model, period) = books.get(slug)?.find(name, at)?;
            Some(Price {
                model,
                period,
                source,
            })
        };
        let own = of(&self.own, OWN).or_else(|| of(&self.configured, CONFIGURED));
        own.or_else(|| {
            let listed = self.list.providers.get(slug)?;
            let (model, period) = listed.book.find(name, at)?;
            Some(Price {
                model,
                period,
                source: &listed.source,
            })
        })
    }
}

/// Rows by provider.
fn books(rows: Vec<PriceRow>, version: &str) -> Result<Names<Book>, PriceError> {
    let mut books: Names<Book> = Names::default();
    for mut row in rows {
        row.provider.make_ascii_lowercase();
        let book = books.entry(row.provider.clone()).or_default();
        book.insert(row, version)?;
    }
    Ok(books)
}

impl List {
    fn parse(json: &str) -> Result<Self, PriceError> {
        let file: ListFile = serde_json::from_str(json)?;
        let mut providers: Names<Provider> = file
            .providers
            .into_iter()
            .map(|(slug, provider)| {
                let ProviderFile { source, prices_of } = provider;
                (
                    slug,
                    Provider {
                        source,
                        prices_of,
                        book: Book::default(),
                    },
                )
            })
            .collect();
        for mut row in file.rows {
            row.period.from.get_or_insert(file.effective_from.0);
            match providers.get_mut(&row.provider) {
                Some(provider) => provider.book.insert(row, &file.version)?,
                None => return Err(row.refused("is of a provider that the list does not name")),
            }
        }
        Ok(Self {
            version: file.version,
            source: file.source,
            providers,
        })
    }
}

impl PriceRow {
    fn refused(self, problem: &str) -> PriceError {
        PriceError::Row {
            provider: self.provider,
            model: self.model,
            problem: problem.into(),
        }
    }
}

impl Book {
    fn insert(&mut self, row: PriceRow, version: &str) -> Result<(), PriceError> {
        if row.provider.is_empty() || row.model.is_empty() {
            return Err(row.refused("has an empty name"));
        }
        if let Some(problem) = row.period.problem() {
            return Err(row.refused(problem));
        }
        let lower = |name: &str| name.to_ascii_lowercase().into_boxed_str();
        let next = self.models.len();
        let index = *self.exact.entry(lower(&row.model)).or_insert(next);
        if self
            .models
            .get(index)
            .is_some_and(|model| !model.id.eq_ignore_ascii_case(&row.model))
        {
            return Err(row.refused("has the name of another model"));
        }
        for name in &row.also {
            if *self.exact.entry(lower(name)).or_insert(index) != index {
                let problem = format!("claims the name `{name}`, which another model has");
                return Err(row.refused(&problem));
            }
        }
        let prefixes = row
            .starts_with
            .iter()
            .map(|text| Pattern::StartsWith(lower(text)));
        let parts = row
            .contains
            .iter()
            .map(|text| Pattern::Contains(lower(text)));
        self.patterns
            .extend(prefixes.chain(parts).map(|pattern| (pattern, index)));
        if index == next {
            self.models.push(Model {
                label: format!("{version}/{}/{}", row.provider, row.model).into(),
                id: row.model,
                periods: Vec::new(),
            });
        }
        self.models[index].periods.push(row.period);
        Ok(())
    }

    fn find(&self, name: &str, at: Timestamp) -> Option<(&Model, &Period)> {
        if self.models.is_empty() {
            return None;
        }
        let exact = |spelling: &str| self.exact.get(spelling).copied();
        let matching = |spelling: &str| {
            let (_, index) = self
                .patterns
                .iter()
                .find(|(pattern, _)| pattern.matches(spelling))?;
            Some(*index)
        };
        let index = name::spellings(name, exact).or_else(|| name::spellings(name, matching))?;
        let model = &self.models[index];
        let period = model
            .periods
            .iter()
            .rfind(|period| period.is_in_force(at))?;
        Some((model, period))
    }
}

impl Pattern {
    /// A pattern that ends in a digit does not match within a longer number: `claude-opus-4-1`
    /// is not the beginning of `claude-opus-4-10`.
    fn matches(&self, name: &str) -> bool {
        let (pattern, rest) = match self {
            Self::StartsWith(prefix) => (prefix, name.strip_prefix(&**prefix)),
            Self::Contains(part) => (part, name.split_once(&**part).map(|(_, rest)| rest)),
        };
        let ends_in_digit = pattern.ends_with(|last: char| last.is_ascii_digit());
        rest.is_some_and(|rest| {
            !(ends_in_digit && rest.starts_with(|next: char| next.is_ascii_digit()))
        })
    }
}

/// A price that was found. Displayed as `<version>/<provider>/<model>`, the form of
/// [`Cost::price`].
#[derive(Clone, Copy, Debug)]
pub struct Price<'t> {
    model: &'t Model,
    period: &'t Period,
    source: &'t str,
}

impl<'t> Price<'t> {
    /// Where it was read: a page, or `configured`.
    #[must_use]
    pub fn source(&self) -> &'t str {
        self.period.source.as_deref().unwrap_or(self.source)
    }

    /// Since when it holds; `None` for a row of the operator's that does not say.
    #[must_use]
    pub const fn effective_from(&self) -> Option<Timestamp> {
        self.period.from
    }

    /// Nano-dollars for [`Charge::per`] units of `charge`, below any tier; `None` when it has no
    /// rate.
    #[must_use]
    pub fn rate(&self, charge: Charge) -> Option<u64> {
        self.period.rate(charge, None)
    }
}

impl std::fmt::Display for Price<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.model.label)
    }
}

#[cfg(test)]
mod tests;
