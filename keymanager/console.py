"""The console: Django's AdminSite with our name and our front page."""

from django.contrib.admin import AdminSite


class ConsoleSite(AdminSite):
    site_title = "Key Manager"
    site_header = "Key Manager"
    index_title = "Overview"
    enable_nav_sidebar = False

    # ``admin`` stays the URL namespace, so Django's own admin templates keep working.
