//! Both Azures: every shape of data-plane section 3.

use super::*;

#[test]
fn every_azure_shape_reaches_its_deployment() {
    let chat = "https://res.openai.azure.com/openai/deployments/dep/chat/completions\
                ?api-version=2024-10-21 openai @res #dep";
    for path in [
        "res/dep/chat/completions",
        "res/deployments/dep/chat/completions",
        "res/openai/deployments/dep/chat/completions",
        "res/dep/deployments/dep/chat/completions",
        "res/other/deployments/dep/chat/completions",
        "res/other/openai/deployments/dep/chat/completions",
        "RES/dep/chat/completions",
        "/res/dep/chat/completions",
        "res//dep/chat/completions",
        "res/dep//chat/completions",
    ] {
        check(&format!("azure-openai/{path}?api-version=2024-10-21"), chat);
    }
    check(
        "azure-openai/res/openai/deployments/emb/embeddings",
        "https://res.openai.azure.com/openai/deployments/emb/embeddings openai @res #emb",
    );
    // Words that are no endpoints of a resource may name deployments, as `chat` does in our guide.
    check(
        "azure-openai/res/chat/chat/completions",
        "https://res.openai.azure.com/openai/deployments/chat/chat/completions openai @res #chat",
    );
    check(
        "azure-openai/res/deployments/responses/chat/completions",
        "https://res.openai.azure.com/openai/deployments/responses/chat/completions openai @res \
         #responses",
    );
    check(
        "azure-openai/res/gpt-4.1_mini/extensions/chat/completions",
        "https://res.openai.azure.com/openai/deployments/gpt-4.1_mini/extensions/chat/completions \
         openai @res #gpt-4.1_mini",
    );
}

#[test]
fn what_azure_serves_per_resource_needs_no_deployment() {
    for (path, upstream) in [
        (
            "responses?api-version=preview",
            "responses?api-version=preview",
        ),
        (
            "openai/responses?api-version=preview",
            "responses?api-version=preview",
        ),
        ("dep/responses/resp_1", "responses/resp_1"),
        ("models", "models"),
        ("dep/models", "models"),
        ("files/file-1/content", "files/file-1/content"),
        ("realtime?deployment=rt", "realtime?deployment=rt"),
        ("openai/v1/chat/completions", "v1/chat/completions"),
        ("openai/v1/responses", "v1/responses"),
        ("deployments", "deployments"),
        (
            "openai/deployments?api-version=1",
            "deployments?api-version=1",
        ),
    ] {
        check(
            &format!("azure-openai/res/{path}"),
            &format!("https://res.openai.azure.com/openai/{upstream} openai @res"),
        );
    }
}

#[test]
fn claude_on_azure_lives_below_its_resource() {
    check(
        "azure/Res-1/anthropic/v1/messages",
        "https://res-1.services.ai.azure.com/anthropic/v1/messages anthropic @res-1",
    );
    check(
        "azure/res/models/chat/completions?api-version=1",
        "https://res.services.ai.azure.com/models/chat/completions?api-version=1 openai @res",
    );
    check("azure/res", REFUSED);
    check("azure", REFUSED);
}

#[test]
fn another_case_hides_no_deployment() {
    check(
        "azure-openai/res/openai/Deployments/d/chat/completions",
        "https://res.openai.azure.com/openai/Deployments/d/chat/completions openai @res #d",
    );
}
