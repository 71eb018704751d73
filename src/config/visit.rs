//! One description of all keys, walked for every purpose: reading the file, printing what is in force, writing the
//! reference.
//!
//! [`super::Config::visit`] names every section and key once, with a sentence for the operator. A [`Visitor`] decides what
//! to do with each: the [`Reader`](super::reader) overwrites defaults with what the file says, the
//! [`Printer`](super::printer) writes the current value. So no key can be read but not printed, or be undocumented.

use std::ops::RangeInclusive;

use super::setting::Setting;

/// What is done with every section and key.
pub trait Visitor: Sized {
    /// A table `[name]`, or `[section.name]` if it comes last in a section.
    fn section(&mut self, name: &'static str, about: &'static str, keys: impl FnOnce(&mut Self));

    /// An array of tables `[[name]]`, or `[[section.name]]` if it comes last in a section; each item starts as
    /// `T::default()`.
    fn sections<T: Default>(
        &mut self,
        name: &'static str,
        about: &'static str,
        items: &mut Vec<T>,
        keys: impl Fn(&mut Self, &mut T),
    );

    /// A key whose default is the value it holds.
    fn key<T: Setting>(&mut self, name: &'static str, about: &'static str, value: &mut T);

    /// A key that the file must have.
    fn required<T: Setting>(&mut self, name: &'static str, about: &'static str, value: &mut T);

    /// A key whose value lies between two others, both included.
    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        name: &'static str,
        about: &'static str,
        value: &mut T,
        bounds: RangeInclusive<T>,
    );
}
