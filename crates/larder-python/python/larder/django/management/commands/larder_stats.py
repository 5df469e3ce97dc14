"""`manage.py larder_stats`: what the caches of this process have counted."""

import json

from django.core.cache import caches
from django.core.management.base import BaseCommand, CommandError

from larder.django import LarderCache, LarderNearCache


class Command(BaseCommand):
    """Prints statistics as JSON."""

    help = "Prints the statistics of the caches of larder, by alias, as JSON."

    def add_arguments(self, parser):
        parser.add_argument("alias", nargs="*", help="aliases in CACHES; all that larder serves if none is given")

    def handle(self, *args, **options):
        aliases = options["alias"] or list(caches.settings)
        unknown = [alias for alias in aliases if alias not in caches.settings]
        if unknown:
            raise CommandError(f"no such alias in CACHES: {', '.join(unknown)}")
        stats = {}
        for alias in aliases:
            backend = caches[alias]
            if isinstance(backend, (LarderCache, LarderNearCache)):
                stats[alias] = backend.larder.stats()
        self.stdout.write(json.dumps(stats, indent=2))
