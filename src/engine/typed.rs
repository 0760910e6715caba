//! Maps with keys and values of Rust types.
//!
//! In: a [`MapHandle`] and two types of its sizes. Out: values instead of bytes.
#![forbid(unsafe_code)]

use std::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::Error;
use super::maps::{Element, MapHandle};

impl MapHandle {
    /// A view of the map with keys and values of Rust types.
    ///
    /// # Errors
    /// Sizes that differ from the map's.
    pub fn typed<K, V>(&self) -> Result<TypedMap<K, V>, Error>
    where
        K: IntoBytes + FromBytes + Immutable,
        V: IntoBytes + FromBytes + Immutable,
    {
        self.check_size("key type", size_of::<K>(), self.def().key_size as usize)?;
        self.check_size("value type", size_of::<V>(), self.def().value_size as usize)?;
        Ok(TypedMap { map: self.clone(), types: PhantomData })
    }
}

/// A map with keys of type `K` and values of type `V`.
#[derive(Clone, Debug)]
pub struct TypedMap<K, V> {
    map: MapHandle,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> TypedMap<K, V>
where
    K: IntoBytes + FromBytes + Immutable,
    V: IntoBytes + FromBytes + Immutable,
{
    /// The value of `key`; for a per-CPU map use [`per_cpu`](Self::per_cpu).
    ///
    /// # Errors
    /// What the map type does not allow.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        match self.map.lookup(key.as_bytes())? {
            None => Ok(None),
            Some(Element::Value(bytes)) => Ok(Some(read(&bytes))),
            Some(Element::PerCpu(_)) => Err(Error::PerCpu { map: self.map.def().name.clone() }),
        }
    }

    /// Every CPU's value of `key`, in slot order; a single one for other maps. Empty when there is no element.
    ///
    /// # Errors
    /// What the map type does not allow.
    pub fn per_cpu(&self, key: &K) -> Result<Vec<V>, Error> {
        Ok(match self.map.lookup(key.as_bytes())? {
            None => Vec::new(),
            Some(Element::Value(bytes)) => vec![read(&bytes)],
            Some(Element::PerCpu(values)) => values.iter().map(|bytes| read(bytes)).collect(),
        })
    }

    /// Sets the value of `key`; on every CPU for a per-CPU map.
    ///
    /// # Errors
    /// A full or frozen map.
    pub fn set(&self, key: &K, value: &V) -> Result<(), Error> {
        self.map.update(key.as_bytes(), &Element::Value(value.as_bytes().to_vec()), 0)
    }

    /// Removes an element.
    ///
    /// # Errors
    /// No such element, or a type whose elements cannot be removed.
    pub fn remove(&self, key: &K) -> Result<(), Error> {
        self.map.delete(key.as_bytes())
    }

    /// All keys.
    ///
    /// # Errors
    /// A type without keys.
    pub fn keys(&self) -> Result<Vec<K>, Error> {
        Ok(self.map.keys()?.iter().map(|bytes| read(bytes)).collect())
    }
}

/// Bytes as a value; the sizes were compared when the typed view was made.
fn read<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).expect("the size was checked when the typed map was made")
}
