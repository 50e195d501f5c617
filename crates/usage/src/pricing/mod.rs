//! What a call costs: a dated price book, looked up by model name, computed in integers.
//!
//! Prices are data: `config/prices.toml`, whose head explains the format, and the user's own rows.
//! A book is a value; when an event is priced, and when again, is left to those who hold it.

mod period;
mod rows;
mod spelling;

use std::collections::{BTreeMap, HashMap};
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
    /// A model of the same vendor, never another alias.
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
        for spelling in spelling::spellings(&usage.model) {
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

    /// What a name costs at a time, and whether the name stands for its model only roughly.
    fn period(&self, name: &str, vendor: Option<&str>, ts_ms: i64) -> Option<(&Period, bool)> {
        let listing = self.listing(name, vendor)?;
        match &listing.meaning {
            Meaning::Model(periods) => Some((periods.at(ts_ms)?, false)),
            Meaning::Alias(aliases) => {
                let alias = aliases.at(ts_ms)?;
                let (period, _) = self.period(&alias.model, Some(&listing.vendor), ts_ms)?;
                Some((period, alias.is_estimate))
            }
        }
    }

    fn listing(&self, name: &str, vendor: Option<&str>) -> Option<&Listing> {
        let listings = self.names.get(name)?;
        let of_vendor = |vendor: &str| listings.iter().find(|l| l.vendor == vendor);
        match vendor {
            Some(vendor) => of_vendor(vendor),
            None => self.first_party.iter().find_map(|vendor| of_vendor(vendor)),
        }
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
            if self.listing(&row.name, Some(vendor)).is_some() {
                return Err(row.error(vendor, "name", "a model has this name"));
            }
            if self.listing(&row.model, Some(vendor)).is_none() {
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
            usage: Usage {
                model: model.into(),
                speed: Speed::Standard,
                tokens,
                web_search_requests: 0,
                vendor: None,
                tier: None,
                geo: None,
                logged_cost_nanousd: None,
                flags: Flags::default(),
            },
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
        let served_by = |vendor: &str, model| {
            with(now(model, plain(1_000, 0, 0)), |usage| usage.vendor = Some(vendor.into()))
        };
        check(&served_by("openai", "gpt-5-codex"), "0.00125", RateCard);
        check_unpriced(&served_by("azure", "gpt-5.5"));
        check_unpriced(&served_by("anthropic", "gpt-5.5"));
    }

    #[test]
    fn what_a_gateway_gives_away_is_free() {
        check(&now("deepseek/deepseek-r1:free", CACHED), "0.0", RateCard);
    }

    #[test]
    fn a_logged_cost_goes_before_the_price_book() {
        let logged =
            |cost| with(now("claude-opus-5", CACHED), |u| u.logged_cost_nanousd = Some(cost));
        let price = PriceBook::builtin().price(&logged(7));
        let live = Price { cost_nanousd: Some(7), source: CostSource::Live, version: None };
        assert_eq!(price, live);
        // A provider states a zero only where it means that the call was free.
        check(&logged(0), "0.0", CostSource::Live);
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
            assert_eq!(listings.len(), 1, "{name}");
            assert!(book.first_party.contains(&listings[0].vendor), "{name}");
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
        assert_eq!(book.version(), "2026-11-20+user");

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
        assert_eq!(book.version(), "2026-11-20");

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
