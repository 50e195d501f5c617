//! The facts of an event that have no column of their own: the JSON of `raw_extras` but for the
//! version of the price.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::pricing::Price;
use usage::{CostSource, Usage, UsageEvent};

/// All that has no column, under short names.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extras {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) flags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) geo: Option<Arc<str>>,
    /// Only where the cost column holds another price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logged_cost_nanousd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vendor: Option<Arc<str>>,
    /// The source that stated the usage, where it is not the one in its column. It stands last:
    /// there it can be changed in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage_source: Option<i64>,
}

impl Extras {
    pub(crate) fn of(event: &UsageEvent, price: &Price, usage_source: i64) -> Self {
        let Usage { vendor, tier, geo, logged_cost_nanousd, flags, .. } = &event.usage;
        let in_column =
            price.source == CostSource::Live && price.cost_nanousd == *logged_cost_nanousd;
        Self {
            agent: event.owner.agent.clone(),
            client: event.owner.client.clone(),
            flags: flags.names().map(str::to_owned).collect(),
            geo: geo.clone(),
            logged_cost_nanousd: logged_cost_nanousd.filter(|_| !in_column),
            tier: tier.clone(),
            vendor: vendor.clone(),
            usage_source: Some(usage_source).filter(|source| *source != event.owner.source_id),
        }
    }

    /// `None` where there is nothing to say.
    pub(crate) fn to_json(&self) -> rusqlite::Result<Option<String>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let json = serde_json::to_string(self);
        json.map(Some).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }

    pub(crate) fn from_json(json: Option<&str>) -> serde_json::Result<Self> {
        json.map_or_else(|| Ok(Self::default()), serde_json::from_str)
    }
}
