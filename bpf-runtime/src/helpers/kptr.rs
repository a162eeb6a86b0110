//! Pointers to objects in map values and in other objects.

use super::args::object::{ObjectGiven, ObjectOrNull, PointerAt};
use super::define::helper;

helper! {
    /// Puts `ptr`, an object that the program owns, or null, in the place of the object that
    /// `dst` points to, and returns that, which the program then owns, or null.
    194 Any => fn kptr_xchg(_cx, dst: PointerAt<'a>, ptr: ObjectGiven<'a>) -> ObjectOrNull {
        ObjectOrNull::at(dst.words().word(0).swap(ptr.address()))
    }
}
