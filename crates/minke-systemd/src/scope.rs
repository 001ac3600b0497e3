//! Units of processes that somebody else started: made, changed, stopped.

use minke_model::{Error, Result};

use crate::bus::{Connection, Failure, MANAGER};
use crate::message::{Value, Writer};
use crate::properties::Property;

const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A unit to make.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// Its name with `.scope` at the end.
    pub name: &'a str,
    /// The slice that it is in.
    pub slice: &'a str,
    /// For people.
    pub description: &'a str,
    /// A process to move there: without one there is no such unit.
    pub pid: i32,
    /// Limits, and whatever else it shall have.
    pub properties: Vec<Property>,
}

/// Makes a unit that is delegated: what is below its control group is ours, and the service manager never changes it. Returns
/// when the process is in it.
///
/// # Errors
/// In the service manager's words; [`minke_model::ErrorKind::Conflict`] where a unit of this name is there.
pub fn start(scope: &Scope<'_>) -> Result<()> {
    let mut connection = Connection::open().map_err(|failure| failed("connecting", &failure))?;
    let job = match ask(&mut connection, scope) {
        // One that has failed keeps its name until somebody has taken note.
        Err(Failure::Refused { name, .. }) if name == EXISTS => {
            let mut unit = Writer::default();
            unit.text(scope.name);
            let _ = connection.call(MANAGER, "ResetFailedUnit", "s", unit);
            ask(&mut connection, scope)
        }
        result => result,
    };
    let words = format!("unable to start unit {:?}", scope.name);
    let job = job.map_err(|failure| match &failure {
        Failure::Refused { name, words: why } if name == EXISTS => Error::conflict(format!("{words}: {why}")),
        _ => failed(&words, &failure),
    })?;
    match connection.wait_for_job(&job).map_err(|failure| failed(&words, &failure))?.as_str() {
        "done" => Ok(()),
        result => Err(Error::system(format!("{words}: its job ended as {result:?}"))),
    }
}

fn failed(what: &str, failure: &Failure) -> Error {
    Error::system(format!("{what}: {failure}"))
}

/// Gives the job to the service manager and returns its path.
fn ask(connection: &mut Connection, scope: &Scope<'_>) -> std::result::Result<String, Failure> {
    let own = [
        ("Description", Value::Text(scope.description.into())),
        ("Slice", Value::Text(scope.slice.into())),
        ("Delegate", Value::Bool(true)),
        ("PIDs", Value::Numbers(vec![scope.pid.unsigned_abs()])),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("IOAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        ("DefaultDependencies", Value::Bool(false)),
        ("CollectMode", Value::Text("inactive-or-failed".into())),
    ];
    let mut body = Writer::default();
    body.text(scope.name);
    body.text("replace");
    let given = |name: &str| scope.properties.iter().any(|(given, _)| given == name);
    let own = own.iter().filter(|(name, _)| !given(name)).map(|(name, value)| (*name, value));
    body.properties(own.chain(scope.properties.iter().map(|(name, value)| (name.as_str(), value))));
    body.array(8, |_| {}); // no units besides
    let reply = connection.call(MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)?;
    Ok(reply.body().text()?)
}

/// Why properties were not set.
#[derive(Debug)]
pub enum SetError {
    /// There is no such unit, so nobody minds.
    NoUnit,
    /// In the service manager's words.
    Refused(Error),
}

/// Changes properties of a unit that runs, until the next boot.
///
/// # Errors
/// In the service manager's words.
pub fn set_properties(unit: &str, properties: &[Property]) -> std::result::Result<(), SetError> {
    let words = format!("unable to set unit properties of {unit:?}");
    let refused = |failure: Failure| match &failure {
        Failure::Refused { name, .. } if name == NO_SUCH_UNIT => SetError::NoUnit,
        _ => SetError::Refused(failed(&words, &failure)),
    };
    let mut connection = Connection::open().map_err(refused)?;
    let mut body = Writer::default();
    body.text(unit);
    body.number(1);
    body.properties(properties.iter().map(|(name, value)| (name.as_str(), value)));
    connection.call(MANAGER, "SetUnitProperties", "sba(sv)", body).map_err(refused).map(|_| ())
}

/// Stops a unit: what is left in it is ended. One that isn't there is as stopped as it can be.
///
/// # Errors
/// In the service manager's words.
pub fn stop(unit: &str) -> Result<()> {
    let words = format!("unable to stop unit {unit:?}");
    let mut connection = Connection::open().map_err(|failure| failed(&words, &failure))?;
    let mut body = Writer::default();
    body.text(unit);
    body.text("replace");
    match connection.call(MANAGER, "StopUnit", "ss", body) {
        Ok(reply) => {
            let job = reply.body().text().map_err(|error| failed(&words, &error.into()))?;
            connection.wait_for_job(&job).map_err(|failure| failed(&words, &failure)).map(|_| ())
        }
        Err(Failure::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(()),
        Err(failure) => Err(failed(&words, &failure)),
    }
}
