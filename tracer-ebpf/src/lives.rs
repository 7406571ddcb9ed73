//! What lives from one event to another: sampled objects, goroutines. Each is kept with who made it and
//! when; how old it became is counted under that stack when it ends.

use aya_ebpf::{helpers::bpf_ktime_get_ns, maps::HashMap};
use tracer_common::{
    StackKey,
    record::{AGES, FreedValue, ObjectKey, ObjectValue, age_class},
};

use crate::{atomic, maps::FREED};

/// Those of one kind that live.
type Living = HashMap<ObjectKey, ObjectValue>;

/// What became of one that ends.
pub enum Ending {
    /// Its age is counted under the stack that made it.
    Counted,
    /// Nobody saw it begin, or there was no room for it.
    Unknown,
    /// There is no room to count it.
    Full,
}

/// One begins, made by a stack; false when there is no room for it.
#[inline(always)]
pub fn begin(living: &Living, key: ObjectKey, stack: StackKey) -> bool {
    // SAFETY: a helper without arguments.
    let born = unsafe { bpf_ktime_get_ns() };
    living.insert(key, ObjectValue { stack, born }, 0).is_ok()
}

/// One ends.
#[inline(always)]
pub fn end(living: &Living, key: ObjectKey) -> Ending {
    let Some(object) = living.get_ptr(key) else { return Ending::Unknown };
    // SAFETY: a value of the map; nobody else ends this one.
    let object = unsafe { *object };
    let _ = living.remove(key);
    // SAFETY: a helper without arguments.
    let age = unsafe { bpf_ktime_get_ns() }.saturating_sub(object.born);
    let Some(freed) = freed_of(&object.stack) else { return Ending::Full };
    let class = age_class(age);
    if class < AGES {
        // SAFETY: a word of the value, as just checked; the words are only ever added to.
        unsafe { atomic::add((&raw mut (*freed).by_age).cast::<u64>().add(class), 1) };
    }
    Ending::Counted
}

/// The counts of a stack's ended objects, made when there are none.
#[inline(always)]
fn freed_of(stack: &StackKey) -> Option<*mut FreedValue> {
    if let Some(freed) = FREED.get_ptr_mut(stack) {
        return Some(freed);
    }
    const NOEXIST: u64 = 1;
    // Another CPU may have inserted it meanwhile; either way it is there now, or the map is full.
    let _ = FREED.insert(stack, FreedValue { by_age: [0; AGES] }, NOEXIST);
    FREED.get_ptr_mut(stack)
}
