from small_avatars import built, checkpoint, picture, stand_in_detector, video  # noqa: F401  # fixtures
