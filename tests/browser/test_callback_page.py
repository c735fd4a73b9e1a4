"""The callback page in a real browser, of the size of a phone and without scripts: what a person does."""

from collections.abc import Awaitable, Callable

import pytest
from outlast_workers.callback.links import Links
from playwright.async_api import Browser, Page, expect
from temporalio.api.enums.v1 import EventType

from outlast.contracts.human import SettledRequest
from tests.browser.conftest import LOOKS_WITHIN_MS, PendingCase, Site

Picture = Callable[[Page, str], Awaitable[None]]

expect.set_options(timeout=LOOKS_WITHIN_MS)


async def outcome(case: PendingCase) -> SettledRequest:
    (settled,) = (await case.run.result()).decisions
    return settled


async def refunds(site: Site, case: PendingCase) -> int:
    """Return how many refunds the run's history has."""
    handle = site.client.temporal.get_workflow_handle(case.run.id)
    scheduled = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    return scheduled.count("refund")


async def named(page: Page, name: str = "ann") -> None:
    await page.get_by_label("Your name").fill(name)


async def press(page: Page, button: str) -> None:
    await page.get_by_role("button", name=button, exact=True).click()


async def edited(page: Page, arguments: str) -> None:
    await page.get_by_text("Approve with other arguments").click()
    await page.get_by_label("Arguments", exact=True).fill(arguments)
    await press(page, "Approve as edited")


async def says(page: Page, words: str) -> None:
    await expect(page.get_by_role("status")).to_contain_text(words)


async def test_an_approval_makes_the_call_once(site: Site, phone: Page, picture: Picture) -> None:
    case = await site.refund()
    await phone.goto(case.link)
    await expect(phone.get_by_role("heading")).to_have_text("Approve refund?")
    await expect(phone.locator("pre")).to_contain_text('"amount_usd": 39.9')
    await picture(phone, "decide")
    await named(phone)
    await press(phone, "Approve")
    await says(phone, "Thank you: approved 2.1.")
    await picture(phone, "decided")
    settled = await outcome(case)
    assert (settled.outcome, settled.by) == ("approved", "ann")
    assert await refunds(site, case) == 1


async def test_a_denial_takes_its_reason_along(site: Site, phone: Page) -> None:
    case = await site.refund()
    await phone.goto(case.link)
    await named(phone)
    await phone.get_by_label("Why").fill("bought a year ago")
    await press(phone, "Deny")
    await says(phone, "Thank you: denied 2.1.")
    settled = await outcome(case)
    assert (settled.outcome, settled.comment) == ("denied", "bought a year ago")
    assert await refunds(site, case) == 0


async def test_a_wrong_edit_is_said_and_what_was_typed_is_kept(
    site: Site, phone: Page, picture: Picture
) -> None:
    case = await site.refund()
    await phone.goto(case.link)
    await named(phone)
    await phone.get_by_label("Why").fill("half of it")
    wrong = '{"order_id": "A-1042", "amount_usd": "20"}'
    await edited(phone, wrong)
    await says(phone, "amount_usd")
    await picture(phone, "refused")
    await expect(phone.get_by_label("Arguments", exact=True)).to_have_value(wrong)
    await expect(phone.get_by_label("Your name")).to_have_value("ann")
    await expect(phone.get_by_label("Why")).to_have_value("half of it")
    assert await case.run.pending_requests() == [case.request]

    right = '{"order_id": "A-1042", "amount_usd": 20}'
    await phone.get_by_label("Arguments", exact=True).fill(right)
    await press(phone, "Approve as edited")
    await says(phone, "Thank you: approved 2.1.")
    settled = await outcome(case)
    assert (settled.edited_by, settled.comment) == ("ann", "half of it")
    assert '"refunded_usd":20' in str(await case.run.transcript())


async def test_an_edit_that_is_not_approved_as_one_is_not_dropped(site: Site, phone: Page) -> None:
    case = await site.refund()
    await phone.goto(case.link)
    await named(phone)
    await phone.get_by_text("Approve with other arguments").click()
    arguments = phone.get_by_label("Arguments", exact=True)
    await arguments.fill('{"order_id": "A-1042", "amount_usd": 20}')
    await press(phone, "Approve")
    await says(phone, "arguments: you changed them")
    assert await case.run.pending_requests() == [case.request]
    await press(phone, "Approve as edited")
    assert (await outcome(case)).edited_by == "ann"


async def test_a_question_is_answered(site: Site, phone: Page) -> None:
    case = await site.question()
    await phone.goto(case.link)
    await expect(phone.get_by_role("main")).to_contain_text("Which one shall the door have?")
    await named(phone)
    await phone.get_by_label("Your answer").fill('{"colour": "green"}')
    await press(phone, "Answer")
    await says(phone, "'green' is not one of ['red', 'blue']")
    await expect(phone.get_by_label("Your answer")).to_have_value('{"colour": "green"}')
    await phone.get_by_label("Your answer").fill('{"colour": "blue"}')
    await press(phone, "Answer")
    await says(phone, "Thank you: answered 1.1.")
    assert (await outcome(case)).outcome == "answered"


async def test_a_settled_link_says_what_became_of_it(site: Site, phone: Page) -> None:
    case = await site.refund()
    await case.run.deny(case.request, by="bo")
    await case.run.result()
    answered = await phone.goto(case.link)
    assert answered is not None
    assert answered.status == 410
    await says(phone, "Request '2.1' is already denied by 'bo'.")
    await expect(phone.get_by_role("button")).to_have_count(0)


async def test_two_who_decide_at_once_are_told_who_was_first(
    site: Site, browser: Browser, phone: Page
) -> None:
    case = await site.refund()
    async with await browser.new_page() as other:
        for page, name in ((phone, "ann"), (other, "bo")):
            await page.goto(case.link)
            await named(page, name)
        await press(phone, "Deny")
        await says(phone, "Thank you")
        await press(other, "Approve")
        await says(other, "Request '2.1' is already denied by 'ann'.")
    assert await refunds(site, case) == 0


@pytest.mark.parametrize("wrong", ["forged", "of an unknown run", "cut off"])
async def test_a_wrong_link_offers_nothing(site: Site, phone: Page, wrong: str) -> None:
    case = await site.refund()
    forged = Links("another secret, as long", site.base_url).url(case.run.id, "", case.request)
    unknown = site.links.url("no-such-run", "", case.request)
    link, status, message = {
        "forged": (forged, 404, "This link is not valid."),
        "of an unknown run": (unknown, 410, "its run has ended"),
        "cut off": (case.link[:-3], 404, "This link is not valid."),
    }[wrong]
    answered = await phone.goto(link)
    assert answered is not None
    assert answered.status == status
    await says(phone, message)
    await expect(phone.get_by_role("button")).to_have_count(0)
    await case.run.cancel()


async def test_a_double_click_approves_once_and_says_so(site: Site, phone: Page) -> None:
    case = await site.refund()
    await phone.goto(case.link)
    await named(phone)
    await phone.get_by_role("button", name="Approve", exact=True).dblclick()
    await says(phone, "approved")
    assert (await outcome(case)).by == "ann"
    assert await refunds(site, case) == 1


@pytest.mark.parametrize("kind", ["refund", "question"])
async def test_a_phone_never_scrolls_sideways(site: Site, phone: Page, kind: str) -> None:
    case = await (site.refund() if kind == "refund" else site.question())
    long = "x" * 300
    await phone.goto(case.link)
    await phone.set_viewport_size({"width": 320, "height": 568})
    await named(phone, long[:200])
    if kind == "refund":
        await edited(phone, f'{{"order_id": "{long}", "amount_usd": 1}}')
    else:
        await phone.get_by_label("Your answer").fill(f'{{"colour": "{long}"}}')
        await press(phone, "Answer")
    await says(phone, "xxx")
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await phone.evaluate(overflow) == 0
    for button in await phone.get_by_role("button").all():
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 44, "a thumb hits it"
    await case.run.cancel()


async def test_a_keyboard_is_enough_and_enter_in_a_field_decides_nothing(
    site: Site, browser: Browser
) -> None:
    case = await site.refund()
    async with await browser.new_page() as page:
        await page.goto(case.link)
        await page.keyboard.press("Tab")
        await expect(page.get_by_label("Your name")).to_be_focused()
        await page.keyboard.type("ann")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.type("a fraud")
        await page.keyboard.press("Enter")
        assert await case.run.pending_requests() == [case.request]
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Deny")).to_be_focused()
        await page.keyboard.press("Enter")
        await says(page, "Thank you: denied 2.1.")
    assert (await outcome(case)).comment == "a fraud"


async def test_nobody_decides_without_a_name(site: Site, phone: Page) -> None:
    case = await site.refund()
    await phone.goto(case.link)
    await press(phone, "Approve")
    await expect(phone.get_by_role("status")).to_have_count(0)
    assert await case.run.pending_requests() == [case.request]
    await case.run.cancel()
