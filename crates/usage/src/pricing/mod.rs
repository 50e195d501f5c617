//! What a call costs: a dated price book, looked up by model name, computed in integers.
//!
//! Prices are data: `config/prices.toml`, whose head explains the format, and the user's own rows.
//! A book is a value; when an event is priced, and when again, is left to those who hold it.

mod period;
mod rows;
mod spelling;

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::sync::Arc;

use crate::{CostSource, Flags, Role, Usage, UsageEvent};
use period::{Period, Quote, Timeline};
use rows::{AliasRow, File, Model};
pub use rows::{PriceBookError, PriceRow, PriceRows};

const BUILTIN: &str = include_str!("../../../../config/prices.toml");

/// Prices by model and date.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    version: Arc<str>,
    /// Vendors whose rows price a call that names no vendor, the first one first.
    first_party: Vec<String>,
    /// Vendors that ask what the makers ask, unless they have rows of their own.
    resellers: Vec<String>,
    /// Makers whose models are hosted by others at prices of their own.
    hosted_elsewhere: Vec<String>,
    /// Other names of vendors.
    vendors: HashMap<String, String>,
    /// Every name with a meaning, listed once for each vendor that uses it.
    names: HashMap<String, Vec<Listing>>,
}

/// The cost of one event under one price book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// In 1e-9 USD; `None` = no price known.
    pub cost_nanousd: Option<i64>,
    pub source: CostSource,
    /// Version of the book the price was taken from; `None` where no book was asked.
    pub version: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Listing {
    vendor: String,
    meaning: Meaning,
}

#[derive(Clone, Debug)]
enum Meaning {
    Model(Timeline<Period>),
    Alias(Timeline<Alias>),
}

#[derive(Clone, Debug)]
struct Alias {
    /// A model of the same vendor or, if that is a reseller, of a maker; never another alias.
    model: String,
    is_estimate: bool,
}

impl PriceBook {
    /// The book that comes with the program.
    #[expect(clippy::expect_used, reason = "the text is part of the program; tests parse it")]
    pub fn builtin() -> Self {
        Self::parse(BUILTIN).expect("config/prices.toml is a price book")
    }

    pub fn parse(text: &str) -> Result<Self, PriceBookError> {
        let file: File = toml::from_str(text)?;
        let mut book = Self {
            version: file.version.into(),
            first_party: file.first_party,
            resellers: file.resellers,
            hosted_elsewhere: file.hosted_elsewhere,
            vendors: file.vendors,
            names: HashMap::new(),
        };
        book.list_models(rows::compile(&file.prices)?);
        for (vendor, rows) in &file.aliases {
            book.list_aliases(vendor, rows)?;
        }
        Ok(book)
    }

    /// Adds the user's own rows. They replace all that the book says about their models.
    pub fn overlay(&mut self, rows: &PriceRows) -> Result<(), PriceBookError> {
        let models = rows::compile(rows)?;
        if !models.is_empty() {
            self.list_models(models);
            self.version = format!("{}+user", self.version).into();
        }
        Ok(())
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn price(&self, event: &UsageEvent) -> Price {
        if event.role == Role::User {
            return Price { cost_nanousd: Some(0), source: CostSource::RateCard, version: None };
        }
        let usage = &event.usage;
        if let Some(cost) = usage.logged_cost_nanousd.filter(|cost| *cost >= 0) {
            return Price { cost_nanousd: Some(cost), source: CostSource::Live, version: None };
        }
        let Some(quote) = self.quote(usage, event.ts_ms) else {
            return Price { cost_nanousd: None, source: CostSource::Unknown, version: None };
        };
        let is_estimate = quote.is_estimate || usage.flags.contains(Flags::ESTIMATED);
        Price {
            cost_nanousd: Some(quote.cost_nanousd),
            source: if is_estimate { CostSource::Estimated } else { CostSource::RateCard },
            version: Some(Arc::clone(&self.version)),
        }
    }

    fn quote(&self, usage: &Usage, ts_ms: i64) -> Option<Quote> {
        let vendor = usage.vendor.as_deref();
        let dashed = spelling::dashed(&usage.model);
        let names = iter::once(&*usage.model).chain(dashed.as_deref());
        for spelling in names.flat_map(spelling::spellings) {
            if let Some((period, is_rough)) = self.period(spelling.name, vendor, ts_ms) {
                let quote = period.quote(usage);
                let is_estimate = quote.is_estimate || is_rough || spelling.is_rerouted;
                return Some(Quote { is_estimate, ..quote });
            }
        }
        // Gateways mark what they give away.
        let is_free = usage.model.ends_with(":free");
        is_free.then_some(Quote { cost_nanousd: 0, is_estimate: false })
    }

    /// What a name costs at a time, and whether that is so only roughly.
    fn period(&self, name: &str, vendor: Option<&str>, ts_ms: i64) -> Option<(&Period, bool)> {
        let listing = self.listing(name, vendor)?;
        match &listing.meaning {
            Meaning::Model(periods) => Some((periods.at(ts_ms)?, self.is_resold(listing, vendor))),
            Meaning::Alias(aliases) => {
                let alias = aliases.at(ts_ms)?;
                let model = self.listing(&alias.model, Some(&listing.vendor))?;
                let Meaning::Model(periods) = &model.meaning else { return None };
                let is_rough = alias.is_estimate || self.is_resold(model, vendor);
                Some((periods.at(ts_ms)?, is_rough))
            }
        }
    }

    /// Whether a vendor sells this model of a maker whose price is not that of all who host it.
    fn is_resold(&self, listing: &Listing, vendor: Option<&str>) -> bool {
        vendor.is_some_and(|vendor| self.is_reseller(vendor))
            && self.hosted_elsewhere.contains(&listing.vendor)
    }

    /// Whether it is one, under whichever of its names.
    fn is_reseller(&self, vendor: &str) -> bool {
        let usual = self.vendors.get(vendor).map_or(vendor, String::as_str);
        self.resellers.iter().any(|reseller| reseller == usual)
    }

    /// What a name means at a vendor, or at the makers if the vendor is none or sells what they make.
    fn listing(&self, name: &str, vendor: Option<&str>) -> Option<&Listing> {
        let listings = self.names.get(name)?;
        let of_vendor = |vendor: &str| listings.iter().find(|l| l.vendor == vendor);
        let own = vendor
            .and_then(|vendor| of_vendor(vendor).or_else(|| of_vendor(self.vendors.get(vendor)?)));
        let asks_makers_price = vendor.is_none_or(|vendor| self.is_reseller(vendor));
        let makers = if asks_makers_price { &self.first_party[..] } else { &[] };
        own.or_else(|| makers.iter().find_map(|maker| of_vendor(maker)))
    }

    fn list_models(&mut self, models: Vec<Model<'_>>) {
        for Model { vendor, name, periods } in models {
            self.list(vendor, name, Meaning::Model(periods));
        }
    }

    fn list_aliases(
        &mut self,
        vendor: &str,
        alias_rows: &[AliasRow],
    ) -> Result<(), PriceBookError> {
        let mut names: BTreeMap<&str, Vec<(i64, Alias)>> = BTreeMap::new();
        for row in alias_rows {
            let is_model = |listing: &Listing| matches!(listing.meaning, Meaning::Model(_));
            if self.listing(&row.name, Some(vendor)).is_some_and(|l| l.vendor == *vendor) {
                return Err(row.error(vendor, "name", "a model has this name"));
            }
            if !self.listing(&row.model, Some(vendor)).is_some_and(is_model) {
                return Err(row.error(vendor, "model", "no price row has this model"));
            }
            let from_ms = rows::start_ms(row.from);
            let aliases = names.entry(&row.name).or_default();
            if aliases.iter().any(|(other_ms, _)| *other_ms == from_ms) {
                return Err(row.error(vendor, "from", "stated twice"));
            }
            let alias = Alias { model: row.model.clone(), is_estimate: row.estimated };
            aliases.push((from_ms, alias));
        }
        for (name, mut aliases) in names {
            aliases.sort_by_key(|(from_ms, _)| *from_ms);
            self.list(vendor, name, Meaning::Alias(Timeline(aliases)));
        }
        Ok(())
    }

    /// Gives a vendor's name a meaning in place of any it had.
    fn list(&mut self, vendor: &str, name: &str, meaning: Meaning) {
        let listings = self.names.entry(name.to_owned()).or_default();
        listings.retain(|listing| listing.vendor != vendor);
        listings.push(Listing { vendor: vendor.to_owned(), meaning });
    }
}

#[cfg(test)]
mod tests {
    use toml::value::Datetime;

    use super::CostSource::{Estimated, RateCard};
    use super::*;
    use crate::{EventKey, Owner, Speed, Tokens};

    /// Counts of vectors 1 to 5.
    const CACHED: Tokens = Tokens {
        input: 10,
        output: 500,
        cache_read: 100_000,
        cache_create: 10_000,
        cache_create_1h: 8_000,
        reasoning: 0,
    };
    /// Counts of vectors 6 to 8: 275,254 tokens of input.
    const LONG: Tokens = Tokens {
        input: 16,
        output: 2_621,
        cache_read: 226_784,
        cache_create: 48_454,
        cache_create_1h: 0,
        reasoning: 0,
    };

    fn ms(time: &str) -> i64 {
        let time: Datetime = time.parse().unwrap();
        let second = time.time.map_or(0, |t| {
            (i64::from(t.hour) * 60 + i64::from(t.minute)) * 60 + i64::from(t.second.unwrap_or(0))
        });
        rows::start_ms(time.date) + second * 1000
    }

    fn call(model: &str, time: &str, tokens: Tokens) -> UsageEvent {
        UsageEvent {
            key: EventKey::new("test:1"),
            provider: "test".into(),
            role: Role::Assistant,
            ts_ms: ms(time),
            copy_rank: 0,
            owner: Owner {
                session_id: "s".into(),
                project: "/w".into(),
                is_sidechain: false,
                account: None,
                agent: None,
                client: None,
                source_id: 1,
            },
            usage: Usage { tokens, ..Usage::of(model) },
            parser_version: 1,
        }
    }

    /// A call in November 2026.
    fn now(model: &str, tokens: Tokens) -> UsageEvent {
        call(model, "2026-11-20", tokens)
    }

    fn plain(input: u64, cache_read: u64, output: u64) -> Tokens {
        Tokens { input, cache_read, output, ..Tokens::default() }
    }

    fn with(mut event: UsageEvent, change: impl FnOnce(&mut Usage)) -> UsageEvent {
        change(&mut event.usage);
        event
    }

    fn fast(event: UsageEvent) -> UsageEvent {
        with(event, |usage| usage.speed = Speed::Fast)
    }

    #[track_caller]
    fn check(event: &UsageEvent, usd: &str, source: CostSource) {
        check_by(&PriceBook::builtin(), event, usd, source);
    }

    #[track_caller]
    fn check_by(book: &PriceBook, event: &UsageEvent, usd: &str, source: CostSource) {
        let (whole, fraction) = usd.split_once('.').unwrap();
        let price = Price {
            cost_nanousd: Some(format!("{whole}{fraction:0<9}").parse().unwrap()),
            source,
            version: Some(book.version().into()),
        };
        assert_eq!(book.price(event), price, "{}", event.usage.model);
    }

    #[track_caller]
    fn check_unpriced(event: &UsageEvent) {
        let price = Price { cost_nanousd: None, source: CostSource::Unknown, version: None };
        assert_eq!(PriceBook::builtin().price(event), price, "{}", event.usage.model);
    }

    #[test]
    fn vector_01_both_cache_lifetimes() {
        check(&now("claude-opus-5", CACHED), "0.15505", RateCard);
    }

    #[test]
    fn vector_02_fast() {
        check(&fast(now("claude-opus-5", CACHED)), "0.3101", RateCard);
    }

    #[test]
    fn vector_03_the_search_fee_is_not_multiplied() {
        let searched = with(now("claude-opus-5", CACHED), |usage| usage.web_search_requests = 2);
        check(&searched, "0.17505", RateCard);
        check(&fast(searched), "0.3301", RateCard);
    }

    #[test]
    fn vector_04_inference_in_the_us() {
        let us = |model| with(now(model, CACHED), |usage| usage.geo = Some("us".into()));
        check(&us("claude-opus-5"), "0.170555", RateCard);
        // 4.5 models cost the same everywhere.
        check(&us("claude-opus-4-5"), "0.15505", RateCard);
        let elsewhere = with(now("claude-opus-5", CACHED), |u| u.geo = Some("global".into()));
        check(&elsewhere, "0.15505", RateCard);
        check(&fast(us("claude-opus-5")), "0.34111", RateCard);
    }

    #[test]
    fn vector_05_a_cache_price_of_its_own() {
        check(&now("claude-fable-5-1", CACHED), "0.2351", RateCard);
    }

    #[test]
    fn vector_06_a_long_prompt_costs_more_as_a_whole() {
        check(&call("claude-sonnet-4-5", "2025-12-01", LONG), "0.5585439", RateCard);
    }

    #[test]
    fn vector_07_no_long_price_any_more() {
        check(&call("claude-sonnet-4-6", "2026-04-01", LONG), "0.2891007", RateCard);
    }

    #[test]
    fn vector_08_the_last_second_of_a_price() {
        check(&call("claude-sonnet-4-6", "2026-03-12T23:59:59Z", LONG), "0.5585439", RateCard);
        check(&call("claude-sonnet-4-6", "2026-03-13T00:00:00Z", LONG), "0.2891007", RateCard);
    }

    #[test]
    fn vector_09_the_threshold_itself_is_not_above_it() {
        check(&now("claude-haiku-5-5", plain(100_000, 0, 1_000)), "0.0105", RateCard);
        check(&now("claude-haiku-5-5", plain(100_001, 0, 1_000)), "0.0525005", RateCard);
    }

    #[test]
    fn vector_10_priority_prices() {
        let event = now("gpt-5.5", plain(20_000, 100_000, 2_000));
        check(&event, "0.21", RateCard);
        check(&fast(event), "0.525", RateCard);
    }

    #[test]
    fn vector_11_cached_input_counts_towards_the_threshold() {
        check(&now("gpt-5.5", plain(72_000, 200_000, 1_000)), "0.49", RateCard);
        check(&now("gpt-5.5", plain(72_001, 200_000, 1_000)), "0.96501", RateCard);
    }

    /// What the fuzzer begins with: a byte and a model that choose the call, then a book or rows.
    #[test]
    fn seeds_of_the_fuzzer_are_refused_or_price_every_call() {
        let mut priced = 0;
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/prices");
        for seed in std::fs::read_dir(seeds).unwrap() {
            let seed = std::fs::read_to_string(seed.unwrap().path()).unwrap();
            let (model, text) = seed[1..].split_once('\n').unwrap();
            let mut books = vec![PriceBook::builtin()];
            books.extend(PriceBook::parse(text));
            if let Ok(rows) = toml::from_str(text) {
                books[0].overlay(&rows).unwrap();
            }
            let tokens = Tokens { input: 1_000_000_000, output: 1_000_000_000, ..CACHED };
            for price in books.iter().map(|book| book.price(&now(model, tokens))) {
                assert!(price.cost_nanousd.is_none_or(|cost| cost > 0), "{model}: {price:?}");
                priced += usize::from(price.cost_nanousd.is_some());
            }
        }
        assert!(priced >= 2, "{priced}");
    }

    #[test]
    fn vector_12_the_price_of_the_day() {
        let tokens = Tokens {
            input: 2_000,
            output: 1_000,
            cache_read: 20_000,
            cache_create: 8_000,
            cache_create_1h: 0,
            reasoning: 300,
        };
        check(&call("gpt-5.6-sol", "2026-09-01", tokens), "0.076", RateCard);
        check(&call("gpt-5.6-sol", "2026-08-20T23:59:59Z", tokens), "0.1", RateCard);
        check(&call("gpt-5.6", "2026-08-21", tokens), "0.076", RateCard);
        check(&call("gpt-5.6-sol", "2025-01-01", tokens), "0.1", RateCard);
    }

    #[test]
    fn vector_13_an_alias() {
        check(&now("gpt-5-codex", plain(0, 1_000, 0)), "0.000125", RateCard);
    }

    #[test]
    fn vector_14_a_date_in_the_name() {
        check(&now("claude-opus-4-1-20250805", plain(1_000, 0, 100)), "0.0225", RateCard);
    }

    #[test]
    fn vector_15_a_bedrock_name() {
        let event = now("us.anthropic.claude-opus-4-6-v1:0", plain(1_000, 0, 0));
        check(&event, "0.005", Estimated);
    }

    #[test]
    fn vector_16_no_price_is_guessed() {
        let unpriced = [
            "claude-opus-9",
            "<synthetic>",
            "",
            Usage::UNKNOWN_MODEL,
            "claude-fable-5-2",
            "gpt-6",
            "gpt-6.1-luna",
            "gpt-5.3-codex-spark",
            "gpt-5-codex-mini",
            "Claude-Opus-5",
            "claude-opus-5-turbo",
            "claude-opus",
        ];
        for model in unpriced {
            check_unpriced(&now(model, plain(1_000, 0, 0)));
        }
    }

    #[test]
    fn vector_17_a_million_small_calls() {
        let book = PriceBook::builtin();
        let event = now("gpt-6-luna", plain(1, 0, 0));
        let sum_nanousd: i64 =
            (0..1_000_000).map(|_| book.price(&event).cost_nanousd.unwrap()).sum();
        assert_eq!(sum_nanousd, 100_000_000);
    }

    #[test]
    fn vector_18_rounds_half_up_and_once() {
        let write = |count| Tokens { cache_create: count, ..Tokens::default() };
        let flex = |event| with(event, |usage| usage.speed = Speed::Flex);
        check(&flex(now("gpt-6-luna", write(1))), "0.000000063", RateCard);
        check(&flex(now("gpt-6-luna", write(2))), "0.000000125", RateCard);
        // 62.5 + 50 nano-USD.
        let both = Tokens { input: 1, ..write(1) };
        check(&flex(now("gpt-6-luna", both)), "0.000000113", RateCard);
    }

    #[test]
    fn claude_24_long_sonnet() {
        check(&call("claude-sonnet-4-5", "2025-12-24T18:00:00Z", LONG), "0.5585439", RateCard);
        check(&call("claude-sonnet-4-6", "2026-03-14", LONG), "0.2891007", RateCard);
    }

    #[test]
    fn claude_25_an_unknown_model() {
        check_unpriced(&now("claude-x-9", CACHED));
    }

    #[test]
    fn claude_26_service_tier_priority_is_not_fast() {
        let event = now("claude-opus-5", CACHED);
        let priority = with(event, |usage| usage.tier = Some("priority".into()));
        check(&priority, "0.15505", RateCard);
    }

    /// Twenty requests of 50,000 tokens are none of 272,001.
    #[test]
    fn a_sum_of_requests_is_priced_as_short_ones_and_estimated_where_one_may_be_long() {
        let sum = |event| with(event, |usage: &mut Usage| usage.flags.insert(Flags::SUM));
        check(&now("gpt-5.4", plain(1_000_000, 0, 10_000)), "5.225", RateCard);
        check(&sum(now("gpt-5.4", plain(1_000_000, 0, 10_000))), "2.65", Estimated);
        check(&sum(now("gpt-5.4", plain(200_000, 72_001, 0))), "0.51800025", Estimated);
        // None of them can have been long.
        check(&sum(now("gpt-5.4", plain(200_000, 72_000, 0))), "0.518", RateCard);
        // The first of several thresholds.
        check(&sum(now("qwen3-coder-plus", plain(32_001, 0, 0))), "0.032001", Estimated);
        // A model, a day and a speed without a long price.
        check(&sum(now("gpt-5.2", plain(1_000_000, 0, 0))), "1.75", RateCard);
        let tokens = plain(1_000_000, 0, 0);
        check(&sum(call("claude-sonnet-4-6", "2026-03-12", tokens)), "3.0", Estimated);
        check(&sum(call("claude-sonnet-4-6", "2026-03-13", tokens)), "3.0", RateCard);
        check(&sum(fast(now("gpt-5.4", tokens))), "5.0", RateCard);
        check(&sum(fast(now("gpt-6.1-sol", tokens))), "4.0", Estimated);
        let flex = with(now("gpt-5.4", tokens), |usage| usage.speed = Speed::Flex);
        check(&sum(flex), "1.25", Estimated);
        let logged = with(now("gpt-5.4", tokens), |usage| usage.logged_cost_nanousd = Some(7));
        assert_eq!(PriceBook::builtin().price(&sum(logged)).source, CostSource::Live);
    }

    #[test]
    fn a_speed_without_a_price_is_estimated_at_the_standard_price() {
        check(&fast(now("claude-fable-5", plain(1_000, 0, 0))), "0.01", Estimated);
        check(&fast(now("gpt-5.1-codex", plain(1_000, 0, 0))), "0.00125", Estimated);
        let long_fast = fast(call("gpt-5.6-sol", "2026-08-01", plain(300_000, 0, 0)));
        check(&long_fast, "3.0", Estimated);
    }

    #[test]
    fn long_prompts_at_other_speeds() {
        let long = plain(300_000, 0, 0);
        let at = |model, speed| with(now(model, long), |usage| usage.speed = speed);
        check(&at("gpt-5.5", Speed::Fast), "3.75", RateCard);
        check(&at("gpt-5.4", Speed::Flex), "0.75", RateCard);
        check(&at("gpt-6-astra", Speed::Fast), "12.0", RateCard);
        check(&at("gpt-6-astra", Speed::Ultrafast), "36.0", RateCard);
        check(&at("gpt-6-astra", Speed::Batch), "3.0", RateCard);
        check(&at("claude-haiku-5-5", Speed::Batch), "0.075", RateCard);
    }

    #[test]
    fn a_dated_alias() {
        let tokens = plain(100_000, 0, 0);
        check(&call("codex-auto-review", "2026-07-29T23:59:59Z", tokens), "0.25", Estimated);
        check(&call("codex-auto-review", "2026-07-30", tokens), "0.02", Estimated);
    }

    #[test]
    fn a_vendor_has_its_own_prices() {
        let served_by = |vendor, model| served_by(vendor, now(model, plain(1_000, 0, 0)));
        check(&served_by("openai", "gpt-5-codex"), "0.00125", RateCard);
        check_unpriced(&served_by("azure", "gpt-5.5"));
        check_unpriced(&served_by("anthropic", "gpt-5.5"));
    }

    fn served_by(vendor: &str, event: UsageEvent) -> UsageEvent {
        with(event, |usage| usage.vendor = Some(vendor.into()))
    }

    #[test]
    fn gemini() {
        check(&now("gemini-3.1-pro-preview", plain(100_000, 100_000, 1_000)), "0.232", RateCard);
        check(&now("gemini-3.1-pro-preview", plain(100_001, 100_000, 1_000)), "0.458004", RateCard);
        check(&now("gemini-3-flash-preview", plain(20_926, 8_156, 731)), "0.0130638", RateCard);
        check(&now("gemini-2.0-flash-lite", plain(1_000, 1_000, 1_000)), "0.00045", RateCard);
        let preview = plain(10_000, 0, 0);
        check(&now("gemini-2.5-flash-preview-09-2025", preview), "0.003", RateCard);
        check(&now("gemini-3.1-flash-lite-preview", preview), "0.0025", RateCard);
        // The name of another model, where a server knows that by no other.
        check(&now("gemini-3-flash", preview), "0.015", Estimated);
        let searched = with(now("gemini-3-pro-preview", preview), |u| u.web_search_requests = 2);
        check(&searched, "0.048", RateCard);
        for model in ["gemini-2.5", "gemini-2.5-flash-image", "gemini-3-pro", "gemini-pro-latest"] {
            check_unpriced(&now(model, preview));
        }
    }

    #[test]
    fn gemini_by_the_day() {
        let tokens = plain(10_000, 100_000, 1_000);
        check(&call("gemini-2.5-pro", "2025-11-06T23:59:59Z", tokens), "0.0535", RateCard);
        check(&call("gemini-2.5-pro", "2025-11-07", tokens), "0.035", RateCard);
        let long = plain(200_001, 100_000, 0);
        check(&call("gemini-2.5-pro", "2025-11-06", long), "0.5625025", RateCard);
        check(&call("gemini-3.8-flash", "2026-12-31", plain(100_000, 0, 0)), "0.075", RateCard);
        check(&call("gemini-3.8-flash", "2027-01-01", plain(100_000, 0, 0)), "0.15", RateCard);
    }

    #[test]
    fn grok() {
        check(&now("grok-4.5", plain(199_999, 0, 0)), "0.399998", RateCard);
        check(&now("grok-4.5", plain(200_000, 0, 0)), "0.8", RateCard);
        let tokens = plain(100_000, 0, 1_000);
        check(&call("grok-4.20-0309-reasoning", "2026-04-29", tokens), "0.206", RateCard);
        check(&call("grok-4.20-0309-reasoning", "2026-04-30", tokens), "0.1275", RateCard);
        check(&call("grok-code-fast-1", "2025-10-01", tokens), "0.0215", RateCard);
        check(&call("grok-code-fast-1", "2026-05-15", tokens), "0.102", RateCard);
        check_unpriced(&now("grok-5", tokens));
    }

    #[test]
    fn glm_and_kimi() {
        check(&now("glm-4.6", plain(10_000, 100_000, 1_000)), "0.0192", RateCard);
        check(&now("glm-4.5-flash", CACHED), "0.0", RateCard);
        let tokens = plain(100_000, 0, 10_000);
        check(&call("glm-5.3-flash", "2026-09-09", tokens), "0.01", RateCard);
        check(&call("glm-5.3-flash", "2026-09-10", tokens), "0.02", RateCard);
        check(&now("kimi-k3", CACHED), "0.09153", RateCard);
        check(&now("kimi-k2-turbo-preview", tokens), "0.195", RateCard);
        for model in ["glm-9", "kimi-k2", "kimi-latest"] {
            check_unpriced(&now(model, tokens));
        }
    }

    #[test]
    fn deepseek_costs_about_so_much_since_its_price_depends_on_the_hour() {
        let tokens = plain(100_000, 1_000_000, 10_000);
        check(&call("deepseek-v4-flash", "2026-05-23", tokens), "0.0448", RateCard);
        check(&call("deepseek-v4-flash", "2026-08-16", tokens), "0.0196", RateCard);
        check(&call("deepseek-v4-flash", "2026-08-17", tokens), "0.0356", Estimated);
        check(&call("deepseek-v4-flash", "2026-09-10", tokens), "0.024", Estimated);
        check(&call("deepseek-v4-pro", "2026-08-16", tokens), "0.055825", RateCard);
        check(&now("deepseek-v4-pro", tokens), "0.1078", Estimated);
        check(&call("deepseek-chat", "2025-12-01", tokens), "0.0602", RateCard);
    }

    #[test]
    fn mistral_and_qwen() {
        let tokens = plain(100_000, 0, 10_000);
        check(&now("devstral-2512", tokens), "0.06", RateCard);
        check(&now("codestral-latest", tokens), "0.039", RateCard);
        check(&call("mistral-medium-latest", "2026-06-15", tokens), "0.06", RateCard);
        check(&call("mistral-medium-latest", "2026-06-16", tokens), "0.225", RateCard);
        check(&now("qwen3-coder-plus", plain(32_000, 0, 0)), "0.032", RateCard);
        check(&now("qwen3-coder-plus", plain(32_001, 0, 0)), "0.0576018", RateCard);
        check(&now("qwen3-coder-plus", plain(256_001, 0, 0)), "1.536006", RateCard);
        check(&now("qwen3-coder-plus-2025-07-22", plain(1_000, 0, 0)), "0.001", RateCard);
        check_unpriced(&now("qwen-plus", tokens));
    }

    /// 100,000 in, 1,000,000 read from the cache, 20,000 written to it, 10,000 out.
    #[test]
    fn minimax_and_mimo() {
        let tokens = Tokens { cache_create: 20_000, ..plain(100_000, 1_000_000, 10_000) };
        // 0.03 + 0.03 + 0.0075 + 0.012; long as a whole: 0.06 + 0.12 + 0.012 + 0.024.
        check(&now("MiniMax-M2.5", tokens), "0.0795", RateCard);
        check(&now("minimax-m2.5", tokens), "0.0795", RateCard);
        check(&now("MiniMax-M3", tokens), "0.216", RateCard);
        check(&now("MiniMax-M3", plain(500_000, 12_000, 10_000)), "0.16272", RateCard);
        check(&now("minimax/minimax-m2.7", plain(100_000, 0, 10_000)), "0.042", Estimated);
        // 0.1 * 2 + 1 * 0.4 + 0.02 * 2 + 0.01 * 6, and from the day on: 0.0435 + 0.0036 + 0.0087 + 0.0087.
        check(&call("mimo-v2.5-pro", "2026-05-26", tokens), "0.7", RateCard);
        check(&call("mimo-v2.5-pro", "2026-05-27", tokens), "0.0645", RateCard);
        check(&now("mimo-v2-flash", plain(100_000, 0, 10_000)), "0.013", RateCard);
        for model in ["MiniMax-M4", "minimax-m2.9", "mimo-v3", "mimo"] {
            check_unpriced(&now(model, tokens));
        }
    }

    #[test]
    fn names_that_stand_for_the_model_of_the_day() {
        let tokens = plain(10_000, 0, 1_000);
        for (model, time, usd) in [
            // 0.01 * 1 + 0.001 * 5, then 0.4 and 2.4, then 0.5 and 3.
            ("coder-model", "2025-11-01", "0.015"),
            ("coder-model", "2026-02-16", "0.0064"),
            ("coder-model", "2026-11-20", "0.008"),
            ("vision-model", "2025-11-01", "0.0036"),
            // 0.6 and 3, then 0.95 and 4.
            ("kimi-for-coding", "2026-06-11", "0.009"),
            ("kimi-for-coding", "2026-06-12", "0.0135"),
            ("kimi-code/kimi-for-coding", "2026-06-12", "0.0135"),
            ("kimi-for-coding-highspeed", "2026-08-01", "0.027"),
        ] {
            check(&call(model, time, tokens), usd, Estimated);
        }
        check(&now("kimi-code/k3", tokens), "0.045", RateCard);
        check(&now("qwen3-max-preview", tokens), "0.018", RateCard);
        check(&now("qwen-flash", plain(256_001, 0, 0)), "0.06400025", RateCard);
    }

    #[test]
    fn names_as_github_and_gateways_write_them() {
        let tokens = plain(1_000, 0, 0);
        check(&now("claude-sonnet-4.6", tokens), "0.003", RateCard);
        check(&now("anthropic/claude-opus-4.5", tokens), "0.005", RateCard);
        check(&now("claude-3.7-sonnet", tokens), "0.003", RateCard);
        check(&now("gpt-5.4-mini", tokens), "0.00075", RateCard);
        check(&now("google/gemini-3.1-pro-preview", tokens), "0.002", RateCard);
        check(&now("x-ai/grok-4.5", tokens), "0.002", RateCard);
        for (model, usd) in [
            ("z-ai/glm-4.6", "0.0006"),
            ("deepseek/deepseek-chat", "0.00014"),
            ("moonshotai/kimi-k2.6", "0.00095"),
            ("mistralai/devstral-2512", "0.0004"),
            ("qwen/qwen3-max", "0.0012"),
        ] {
            check(&now(model, tokens), usd, Estimated);
        }
        for model in ["anthropic/claude-opus-9.5", "google/gpt-5.5-pro", "z-ai/glm-9", "z-ai/"] {
            check_unpriced(&now(model, tokens));
        }
    }

    #[test]
    fn a_maker_has_its_price_under_each_of_its_names() {
        for (vendor, model, usd) in [
            ("google", "gemini-2.5-pro", "0.00125"),
            ("gemini", "gemini-2.5-pro", "0.00125"),
            ("google-vertex", "gemini-2.5-pro", "0.00125"),
            ("xai", "grok-4.3", "0.00125"),
            ("x-ai", "grok-4.3", "0.00125"),
            ("zai", "glm-5.1", "0.0014"),
            ("zai-coding-plan", "glm-5.1", "0.0014"),
            ("moonshotai", "kimi-k2.6", "0.00095"),
            ("moonshot", "kimi-k2.6", "0.00095"),
            ("mistral", "devstral-latest", "0.0004"),
            ("alibaba", "qwen3-max", "0.0012"),
            ("openai-native", "gpt-5.4", "0.0025"),
            ("anthropic", "claude-sonnet-4-6", "0.003"),
            ("chatgpt_codex", "gpt-5.4", "0.0025"),
            ("custom_deepseek", "V4.1 Flash off-peak", "0.00015"),
            ("gcp_vertex_ai", "gemini-2.5-pro", "0.00125"),
            ("google-gemini-cli", "gemini-2.5-pro", "0.00125"),
            ("google-antigravity", "gemini-2.5-pro", "0.00125"),
            ("kimi-coding", "k2p7", "0.00095"),
            ("kimi-for-coding", "kimi-k2.6", "0.00095"),
            ("kimi", "k3", "0.003"),
            ("minimax-coding-plan", "MiniMax-M2.7", "0.0003"),
            ("alibaba-coding-plan", "qwen3.6-plus", "0.0005"),
        ] {
            check(&served_by(vendor, now(model, plain(1_000, 0, 0))), usd, RateCard);
        }
        let deepseek = call("deepseek-chat", "2026-02-01", plain(1_000, 0, 0));
        check(&served_by("deepseek", deepseek), "0.00028", RateCard);
    }

    #[test]
    fn a_reseller_asks_what_the_maker_asks() {
        for (vendor, model, usd, source) in [
            ("github-copilot", "claude-sonnet-4.6", "0.003", RateCard),
            ("github-copilot", "gpt-5.4-mini", "0.00075", RateCard),
            ("github-copilot", "gemini-3.1-pro-preview", "0.002", RateCard),
            ("github-copilot", "kimi-k3", "0.003", RateCard),
            ("github-copilot", "claude-opus-4.8-fast", "0.01", RateCard),
            ("opencode", "claude-opus-4-6", "0.005", RateCard),
            ("opencode", "gpt-5.4", "0.0025", RateCard),
            ("opencode", "gemini-3-pro", "0.002", RateCard),
            ("opencode", "gemini-3-flash", "0.0005", RateCard),
            ("opencode", "gpt-5-codex", "0.00107", RateCard),
            ("opencode", "glm-5", "0.001", RateCard),
            ("opencode", "big-pickle", "0.0", RateCard),
            ("opencode", "devstral-2512", "0.0004", Estimated),
            ("openrouter", "anthropic/claude-sonnet-4.6", "0.003", RateCard),
            ("openrouter", "google/gemini-2.5-flash", "0.0003", RateCard),
            ("openrouter", "openai/gpt-5.5", "0.005", RateCard),
            ("openrouter", "x-ai/grok-4.5", "0.002", RateCard),
            ("openrouter", "z-ai/glm-4.6", "0.0006", Estimated),
            ("openrouter", "glm-4.6", "0.0006", Estimated),
            ("openrouter", "z-ai/glm-4.6:free", "0.0", RateCard),
            ("openrouter", "minimax/minimax-m2.5", "0.0003", Estimated),
            ("openrouter", "xiaomi/mimo-v2.6-pro", "0.000435", Estimated),
            ("kilo", "anthropic/claude-sonnet-4.6", "0.003", RateCard),
            ("kilo", "minimax/minimax-m3", "0.0003", Estimated),
            ("kilocode", "openai/gpt-5.5", "0.005", RateCard),
            ("github_copilot", "claude-sonnet-4.6", "0.003", RateCard),
            ("github_copilot", "kimi-k3", "0.003", RateCard),
        ] {
            check(&served_by(vendor, now(model, plain(1_000, 0, 0))), usd, source);
        }
        // Two that cost more at GitHub than at their makers.
        let grok = plain(0, 100_000, 0);
        check(&now("grok-4.5", grok), "0.03", RateCard);
        check(&served_by("github-copilot", now("grok-4.5", grok)), "0.05", RateCard);
        let luna = plain(200_001, 0, 0);
        check(&now("gpt-5.6-luna", luna), "0.0400002", RateCard);
        check(&served_by("github-copilot", now("gpt-5.6-luna", luna)), "0.0800004", RateCard);
    }

    #[test]
    fn what_others_ask_is_not_guessed() {
        for (vendor, model) in [
            ("azure", "gpt-5.5"),
            ("azure", "grok-4.5"),
            ("amazon-bedrock", "claude-opus-4-6"),
            ("google-vertex", "claude-opus-4-6"),
            ("cline", "anthropic/claude-sonnet-4.6"),
            ("vercel", "google/gemini-2.5-pro"),
            ("moonshotai-cn", "kimi-k2.6"),
            ("google", "grok-4.5"),
            ("zai", "gpt-5.5"),
            ("openrouter", "stepfun/step-3.7-flash"),
            ("databricks", "claude-sonnet-4-6"),
            ("gcp_vertex_ai", "claude-sonnet-4-6"),
            ("minimax-cn", "MiniMax-M3"),
            ("openai", "big-pickle"),
            ("", "gpt-5.5"),
        ] {
            check_unpriced(&served_by(vendor, now(model, plain(1_000, 0, 0))));
        }
    }

    #[test]
    fn a_resellers_alias_names_a_makers_model() {
        let book = |aliases: &str| {
            PriceBook::parse(&format!(
                "version = 'v'\nfirst_party = ['m']\nresellers = ['r']\n
                [prices]\nm = [{{ model = 'a', in = '1', out = '1' }}]\n
                [aliases]\nm = [{{ name = 'b', model = 'a' }}]\n{aliases}"
            ))
        };
        // A name that the maker uses may mean something else at a reseller's.
        let parsed =
            book("r = [{ name = 'c', model = 'a' }, { name = 'b', model = 'a' }]").unwrap();
        for name in ["a", "b", "c"] {
            let event = served_by("r", now(name, plain(1_000, 0, 0)));
            check_by(&parsed, &event, "0.001", RateCard);
        }
        for (alias, model) in [("c", "b"), ("c", "d"), ("c", "c")] {
            let error = book(&format!("r = [{{ name = '{alias}', model = '{model}' }}]"));
            let expect =
                format!("price row r/{alias} = {model}: model: no price row has this model");
            assert_eq!(error.unwrap_err().to_string(), expect);
        }
        // Only a reseller sells what others make.
        assert!(book("s = [{ name = 'c', model = 'a' }]").is_err());
    }

    #[test]
    fn a_users_rows_may_be_under_any_name_of_a_vendor() {
        let rows: PriceRows = toml::from_str(
            r#"
            gemini = [{ model = "gemini-2.5-pro", in = "7", out = "7" }]
            openrouter = [{ model = "claude-opus-4.5", in = "8", out = "8" }]
            "#,
        )
        .unwrap();
        let mut book = PriceBook::builtin();
        book.overlay(&rows).unwrap();
        let tokens = plain(1_000, 0, 0);
        check_by(&book, &served_by("gemini", now("gemini-2.5-pro", tokens)), "0.007", RateCard);
        check_by(&book, &served_by("google", now("gemini-2.5-pro", tokens)), "0.00125", RateCard);
        // The name as it is written goes before the name with dashes.
        let routed = served_by("openrouter", now("anthropic/claude-opus-4.5", tokens));
        check_by(&book, &routed, "0.008", RateCard);
    }

    #[test]
    fn what_a_gateway_gives_away_is_free() {
        check(&now("deepseek/deepseek-r1:free", CACHED), "0.0", RateCard);
    }

    #[test]
    fn a_logged_cost_goes_before_the_price_book() {
        let logged =
            |cost| with(now("claude-opus-5", CACHED), |u| u.logged_cost_nanousd = Some(cost));
        // A provider states a zero only where it means that the call was free.
        for cost in [7, 0] {
            let live = Price { cost_nanousd: Some(cost), source: CostSource::Live, version: None };
            assert_eq!(PriceBook::builtin().price(&logged(cost)), live);
        }
        check(&logged(-7), "0.15505", RateCard);
    }

    #[test]
    fn estimated_tokens_make_an_estimated_cost() {
        let estimated = |model| with(now(model, CACHED), |u| u.flags.insert(Flags::ESTIMATED));
        check(&estimated("claude-opus-5"), "0.15505", Estimated);
        check_unpriced(&estimated("claude-x-9"));
    }

    #[test]
    fn a_prompt_costs_nothing() {
        let prompt = UsageEvent { role: Role::User, ..now("", Tokens::default()) };
        let price = PriceBook::default().price(&prompt);
        assert_eq!(
            price,
            Price { cost_nanousd: Some(0), source: CostSource::RateCard, version: None }
        );
    }

    #[test]
    fn absurd_counts_saturate() {
        let tokens = Tokens {
            input: u64::MAX,
            output: u64::MAX,
            cache_read: u64::MAX,
            cache_create: u64::MAX,
            cache_create_1h: u64::MAX,
            reasoning: u64::MAX,
        };
        let event = fast(now("claude-opus-4-7", tokens));
        let event = with(event, |usage| usage.web_search_requests = u64::MAX);
        assert_eq!(PriceBook::builtin().price(&event).cost_nanousd, Some(i64::MAX));
        // More written for an hour than written at all.
        let tokens = Tokens { cache_create: 1, cache_create_1h: 9, ..Tokens::default() };
        check(&now("claude-opus-5", tokens), "0.00001", RateCard);
    }

    #[test]
    fn first_party_names_are_unique() {
        let book = PriceBook::builtin();
        for (name, listings) in &book.names {
            let is_maker = |listing: &&Listing| book.first_party.contains(&listing.vendor);
            assert!(listings.iter().filter(is_maker).count() <= 1, "{name}");
            for Listing { vendor, .. } in listings {
                let is_known = book.first_party.contains(vendor) || book.resellers.contains(vendor);
                assert!(is_known, "{vendor}: {name}");
            }
        }
        for vendor in book.vendors.values() {
            let is_known = book.first_party.contains(vendor) || book.resellers.contains(vendor);
            assert!(is_known, "{vendor}");
        }
        for vendor in &book.hosted_elsewhere {
            assert!(book.first_party.contains(vendor), "{vendor}");
        }
    }

    #[test]
    fn the_users_rows_replace_a_model_as_a_whole() {
        let rows: PriceRows = toml::from_str(
            r#"
            azure = [
                { model = "gpt-5.5", in = "6", out = "36" },
                { model = "ours", in = "6", out = "36" },
            ]
            openai = [{ model = "gpt-5.6-sol", in = "1", out = "2" }]
            [[local]]
            model = "gpt-5.5"
            in = "0"
            out = "0"
            [[local]]
            model = "my-model"
            in = "7"
            out = "7"
            "#,
        )
        .unwrap();
        let mut book = PriceBook::builtin();
        book.overlay(&rows).unwrap();
        assert_eq!(book.version(), "2026-11-26+user");

        let tokens = plain(300_000, 0, 0);
        let azure = with(now("gpt-5.5", tokens), |usage| usage.vendor = Some("azure".into()));
        check_by(&book, &azure, "1.8", RateCard);
        check_by(&book, &now("gpt-5.5", tokens), "3.0", RateCard);
        check_by(&book, &now("my-model", tokens), "2.1", RateCard);
        assert_eq!(book.price(&now("ours", tokens)).cost_nanousd, None);
        // Neither the threshold nor the dates nor the fast price of the built-in rows are left.
        check_by(&book, &call("gpt-5.6-sol", "2026-08-01", tokens), "0.3", RateCard);
        check_by(&book, &now("gpt-5.6", tokens), "0.3", RateCard);
        check_by(&book, &fast(now("gpt-5.6-sol", tokens)), "0.3", Estimated);
        check_by(&book, &now("gpt-5.6-terra", tokens), "1.2", RateCard);
    }

    #[test]
    fn rows_may_stand_in_any_order() {
        let mut book = PriceBook::builtin();
        let rows: PriceRows = toml::from_str(
            r#"
            openai = [
                { model = "gpt-7", from = 2027-02-01, in = "10", out = "0" },
                { model = "gpt-7", above = 500, speed = "fast", in = "4", out = "0" },
                { model = "gpt-7", above = 500, in = "3", out = "0" },
                { model = "gpt-7", above = 100, in = "2", out = "0" },
                { model = "gpt-7", speed = "fast", in = "5", out = "0" },
                { model = "gpt-7", in = "1", out = "0" },
            ]
            "#,
        )
        .unwrap();
        book.overlay(&rows).unwrap();
        let event = |input| call("gpt-7", "2027-01-31T23:59:59Z", plain(input, 0, 0));
        check_by(&book, &event(100), "0.0001", RateCard);
        check_by(&book, &event(101), "0.000202", RateCard);
        check_by(&book, &event(500), "0.001", RateCard);
        check_by(&book, &event(501), "0.001503", RateCard);
        check_by(&book, &fast(event(500)), "0.0025", RateCard);
        check_by(&book, &fast(event(501)), "0.002004", RateCard);
        check_by(&book, &call("gpt-7", "2027-02-01", plain(501, 0, 0)), "0.00501", RateCard);
    }

    #[test]
    fn before_its_first_row_a_model_has_that_rows_price() {
        let mut book = PriceBook::builtin();
        let rows: PriceRows = toml::from_str(
            r#"openai = [
                { model = "gpt-7", from = 2027-02-01, in = "2", out = "0" },
                { model = "gpt-7", from = 2027-01-01, in = "1", out = "0" },
            ]"#,
        )
        .unwrap();
        book.overlay(&rows).unwrap();
        check_by(&book, &now("gpt-7", plain(1_000, 0, 0)), "0.001", RateCard);
    }

    #[test]
    fn a_users_row_may_take_the_name_of_an_alias() {
        let rows: PriceRows =
            toml::from_str(r#"openai = [{ model = "gpt-5-codex", in = "9", out = "9" }]"#).unwrap();
        let mut book = PriceBook::builtin();
        book.overlay(&rows).unwrap();
        check_by(&book, &now("gpt-5-codex", plain(1_000, 0, 0)), "0.009", RateCard);
        check_by(&book, &now("gpt-5", plain(1_000, 0, 0)), "0.00125", RateCard);
    }

    #[test]
    fn an_overlay_is_applied_whole_or_not_at_all() {
        let mut book = PriceBook::builtin();
        book.overlay(&PriceRows::new()).unwrap();
        assert_eq!(book.version(), "2026-11-26");

        let rows: PriceRows = toml::from_str(
            r#"
            anthropic = [{ model = "claude-opus-5", in = "0", out = "0" }]
            openai = [{ model = "gpt-5.5", in = "5", out = "cheap" }]
            "#,
        )
        .unwrap();
        let error = book.overlay(&rows).unwrap_err().to_string();
        assert!(error.starts_with("price row openai/gpt-5.5: out: `cheap` is not"), "{error}");
        check_by(&book, &now("claude-opus-5", CACHED), "0.15505", RateCard);
    }
}
