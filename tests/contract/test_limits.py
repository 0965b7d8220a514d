"""How many of a thing one account may have: the next one is refused with 409, and nothing is lost."""
from llmlab_client import sign_up

BUDGETS = 200
DISMISSALS = 1000


def test_budgets_are_bounded_and_existing_ones_can_be_changed(server):
    client = sign_up(server.port)
    for i in range(BUDGETS):
        client.ok("POST", "/api/budgets", {"limit": 1, "scope": {"project": f"p{i}"}}, status=201)
    answer = client.post("/api/budgets", {"limit": 1, "scope": {"project": "one more"}})
    assert answer.status == 409 and answer.json["code"] == "conflict", answer
    assert client.ok("POST", "/api/budgets", {"limit": 2, "scope": {"project": "p0"}})["limit"] == 2
    assert client.ok("GET", "/api/budgets", query={"limit": 500})["count"] == BUDGETS
    client.close()


def test_dismissals_are_bounded_and_can_be_taken_back(server):
    client = sign_up(server.port)
    for i in range(DISMISSALS):
        client.ok("POST", f"/api/recommendations/{i:016x}/dismiss")
    assert client.post(f"/api/recommendations/{DISMISSALS:016x}/dismiss").status == 409
    client.ok("DELETE", f"/api/recommendations/{0:016x}/dismiss", status=204)
    client.ok("POST", f"/api/recommendations/{DISMISSALS:016x}/dismiss")
    client.close()
