//! How exports are: how far, how far behind, and what went wrong last.

use axum::Json;
use axum::extract::State;
use isango_store::exports::ExportView;
use serde::Serialize;

use crate::Control;

/// Every export and how it is, by name.
pub(crate) async fn all(State(control): State<Control>) -> Json<ExportList> {
    Json(ExportList {
        exports: (control.exporting.views)(),
    })
}

#[derive(Debug, Serialize)]
pub(crate) struct ExportList {
    exports: Vec<ExportView>,
}
