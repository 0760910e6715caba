//! What is put into the maps of a collection before it runs: elements, programs for tail calls, inner maps.
//!
//! In: [`Fill`]s that name maps and programs. Out: changed maps. The same fills serve user space and the kernel.
#![forbid(unsafe_code)]

use beelift_runtime::map::MapError;

use super::{Collection, Element, Error, MapHandle};

/// One element of a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fill {
    /// Name of the map.
    pub map: String,
    /// Bytes of the key; none for maps without keys (queue, stack, bloom filter), where the value is pushed.
    pub key: Vec<u8>,
    /// What goes there.
    pub content: Content,
}

/// What a [`Fill`] puts into a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A value, or one for each CPU slot.
    Element(Element),
    /// A program of the same collection, by name: tail calls go there.
    Program(String),
    /// A map of the same collection, by name, as an inner map.
    Map(String),
}

impl Fill {
    /// A value.
    #[must_use]
    pub fn value(map: &str, key: &[u8], value: &[u8]) -> Self {
        let content = Content::Element(Element::Value(value.to_vec()));
        Self { map: map.to_owned(), key: key.to_vec(), content }
    }
    /// The program that must be loaded for it.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        match &self.content {
            Content::Program(name) => Some(name),
            Content::Element(_) | Content::Map(_) => None,
        }
    }
}

impl Collection {
    /// Puts elements into maps, in order.
    ///
    /// # Errors
    /// A map or program of another name, and what the map refuses.
    pub fn fill(&self, fills: &[Fill]) -> Result<(), Error> {
        fills.iter().try_for_each(|fill| {
            let map = self.map(&fill.map)?;
            match &fill.content {
                Content::Element(element) => map.update(&fill.key, element, 0),
                Content::Program(name) => map.set_program(index(map, &fill.key)?, self.program(name)?),
                Content::Map(name) => map.set_map(&fill.key, self.map(name)?),
            }
        })
    }
}

/// The index that a key of four bytes is.
fn index(map: &MapHandle, key: &[u8]) -> Result<u32, Error> {
    let bytes = key.try_into().map_err(|_| Error::Map {
        map: map.def().name.clone(),
        operation: "set_program",
        error: MapError::Invalid,
    })?;
    Ok(u32::from_ne_bytes(bytes))
}
