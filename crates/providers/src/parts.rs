//! What the parts of a message say, in the form of Google's interface.

use crate::record::{Json, Read};

/// What a content of one or several parts says.
#[derive(Default)]
pub(crate) struct Said {
    /// How its first text that is not blank begins, without the space before it.
    pub(crate) text: Option<String>,
    pub(crate) is_tool_result: bool,
}

impl Said {
    /// Nothing is said where there is no content, or one that cannot be read.
    pub(crate) fn of(content: Option<Json<'_>>) -> Self {
        let mut said = Self::default();
        let Some(mut content) = content else { return said };
        let read = match content.peek() {
            Some(b'[') => content.array(|json| said.part(json)).map(drop),
            _ => said.part(&mut content),
        };
        if read.is_err() { Self::default() } else { said }
    }

    /// A part is a text, or an object that holds one or something else.
    fn part(&mut self, json: &mut Json<'_>) -> Read<()> {
        let mut text = None;
        if json.peek() == Some(b'"') {
            text = json.opening()?;
        } else {
            json.object(|name, json| {
                match name {
                    "text" => text = json.opening()?,
                    "functionResponse" => self.is_tool_result |= json.peek() == Some(b'{'),
                    _ => {}
                }
                Ok(())
            })?;
        }
        if self.text.is_none() {
            let text = text.as_deref().map(str::trim_start).filter(|text| !text.is_empty());
            self.text = text.map(str::to_owned);
        }
        Ok(())
    }
}
