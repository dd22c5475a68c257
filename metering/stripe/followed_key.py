"""Stripe's key, read again from its file while a service runs: keys are rolled without a restart."""

from dataclasses import replace
from typing import Final

from metering.configuration.file_watch import FileWatch
from metering.configuration.secrets import Secret
from metering.configuration.settings import SettingsError, read_secret_file
from metering.process.service import ServiceContext
from metering.stripe.access import check_key
from metering.stripe.settings import StripeSettings

STRIPE_KEY_SAID: Final = "the file of Stripe's key cannot be used; the key before it stays"


class FollowedKey(Secret):
    """A key that another one may replace. A request that reveals it has the latest one."""

    __slots__ = ()

    def __init__(self, key: Secret) -> None:
        super().__init__(key.reveal(), file=key.file)

    def read_again(self, *, production: bool) -> bool:
        """Take what its file has now; whether that is another key. Raises SettingsError, without the key, for a file that cannot be used."""
        assert self.file is not None, "only a key from a file is followed"
        text = read_secret_file(str(self.file), self.file)
        problem = check_key(text, production)
        if problem is not None:
            raise SettingsError([problem])
        changed, self._value = text != self._value, text
        return changed


def with_followed_key(stripe: StripeSettings, context: ServiceContext) -> StripeSettings:
    """The same settings, with a key that follows its file, if it has one of its own, for as long as the service runs."""
    key = FollowedKey(stripe.api_key)
    if key.file is not None:
        context.spawn("Stripe's key", _follow(key, context, production=stripe.production), background=True)
    return replace(stripe, api_key=key)


async def _follow(key: FollowedKey, context: ServiceContext, *, production: bool) -> None:
    """Read the file again whenever it changes, and after SIGHUP, until cancelled. A key that may not be used here changes nothing."""
    assert key.file is not None, "only a key from a file is followed"
    watch = FileWatch(key.file, context.supervisor.reload)
    while True:
        await watch.changed()
        try:
            changed = key.read_again(production=production)
            context.log.info("Stripe's key was read again", is_another=changed)
        except SettingsError as bad:
            for problem in bad.problems:
                context.log.error(STRIPE_KEY_SAID, problem=problem)
