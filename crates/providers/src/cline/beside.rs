//! What stands beside a task and says what its entries do not: the directory it works in, and the
//! model of entries that name none.
//!
//! The history of all tasks may be megabytes and the task's conversation more, and a task is saved
//! many times a minute. So nothing is read before it is asked for, and no further than to the answer.

use std::path::Path;
use std::sync::Arc;

use crate::Surroundings;
use crate::record::{Json, NotJson, Read};
use crate::tasks::{directory_in_conversation, name_of};

/// The files around a task's folder, as far as they have been asked for.
pub(super) struct Beside<'r> {
    folder: &'r Path,
    around: &'r dyn Surroundings,
    listed: Option<Listed>,
    models: Option<Vec<ModelUse>>,
}

/// A task in the history of all tasks.
#[derive(Clone, Default)]
struct Listed {
    model: Option<Arc<str>>,
    directory: Option<Arc<str>>,
}

/// A model that a task has used from a time on.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelUse {
    since_ms: i64,
    pub(super) model: Option<Arc<str>>,
    pub(super) provider: Option<Arc<str>>,
}

impl<'r> Beside<'r> {
    pub(super) fn new(folder: &'r Path, around: &'r dyn Surroundings) -> Self {
        Self { folder, around, listed: None, models: None }
    }

    /// The directory of the task, if the history has it.
    pub(super) fn directory(&mut self) -> Option<Arc<str>> {
        self.listed().directory.clone()
    }

    /// The directory that the conversation with the model mentions first.
    pub(super) fn directory_in_conversation(&self) -> Option<Arc<str>> {
        directory_in_conversation(self.folder, self.around)
    }

    /// The model in use at a time. The task's own account of that is the better one: the history
    /// knows only the last.
    pub(super) fn model_at(&mut self, ts_ms: i64) -> ModelUse {
        let Self { folder, around, .. } = *self;
        let models = self.models.get_or_insert_with(|| read_models(folder, around));
        let earlier = models.iter().rev().find(|used| used.since_ms <= ts_ms);
        if let Some(used) = earlier.or(models.first()) {
            return used.clone();
        }
        ModelUse { model: self.listed().model.clone(), ..ModelUse::default() }
    }

    fn listed(&mut self) -> &Listed {
        let Self { folder, around, .. } = *self;
        self.listed.get_or_insert_with(|| find_listed(folder, around).unwrap_or_default())
    }
}

fn find_listed(folder: &Path, around: &dyn Surroundings) -> Option<Listed> {
    let storage = folder.parent()?.parent()?;
    let bytes = around.file(&storage.join("state/taskHistory.json"))?;
    let mut found = None;
    let read = Json::new(&bytes).array(|json| {
        let (mut is_it, mut listed) = (false, Listed::default());
        json.object(|name, json| {
            match name {
                "id" => is_it = json.text()?.as_deref() == Some(name_of(folder)),
                "modelId" => listed.model = json.text()?.map(Into::into),
                "cwdOnTaskInitialization" => listed.directory = json.text()?.map(Into::into),
                _ => {}
            }
            Ok(())
        })?;
        if is_it {
            found = Some(listed);
            // The rest is about other tasks.
            return Err(NotJson);
        }
        Ok(())
    });
    _ = read;
    found
}

fn read_models(folder: &Path, around: &dyn Surroundings) -> Vec<ModelUse> {
    let mut models = Vec::new();
    let Some(bytes) = around.file(&folder.join("task_metadata.json")) else { return models };
    let read = Json::new(&bytes).object(|name, json| {
        if name == "model_usage" {
            models.clear();
            json.array(|json| {
                models.push(ModelUse::read(json)?);
                Ok(())
            })?;
        }
        Ok(())
    });
    // What could be read of a damaged one is as true as the whole.
    _ = read;
    models.retain(|used| used.model.is_some());
    models
}

impl ModelUse {
    fn read(json: &mut Json<'_>) -> Read<Self> {
        let mut used = Self::default();
        json.object(|name, json| {
            match name {
                "ts" => used.since_ms = json.count()?.time_ms().unwrap_or_default(),
                "model_id" => used.model = json.text()?.map(Into::into),
                "model_provider_id" => used.provider = json.text()?.map(Into::into),
                _ => {}
            }
            Ok(())
        })?;
        Ok(used)
    }
}
