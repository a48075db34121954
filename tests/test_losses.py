import math

import pytest
import torch
import torch.nn.functional as F

from anchor.losses import (
    affine_loss,
    edge_loss,
    feature_loss,
    held_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    info_nce,
    jitter_loss,
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    motion_loss,
    pair_loss,
    pairwise_loss,
    pyramid_loss,
    steady_loss,
    sync_loss,
    weighted_l1,
)


def unit(n=512, d=64, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).abs(), dim=1)


def test_identical_pairs_in_sync_cost_nothing_and_are_finite():
    face = unit(20_000)  # rounding takes thousands of these cosines above 1
    assert (F.cosine_similarity(face, face) > 1).any()
    loss = pair_loss(face, face, torch.ones(len(face)))
    assert torch.isfinite(loss)
    assert abs(float(loss)) < 1e-6
    assert abs(float(sync_loss(face, face))) < 1e-6


@pytest.mark.parametrize("in_sync", [0.0, 1.0])
def test_the_clamp_keeps_the_gradient_alive_and_finite(in_sync):
    face = unit(8).requires_grad_()
    speech = -face.detach() + 0.1 if in_sync else face.detach().roll(1, 1) * 0.1 + face.detach()
    pair_loss(face, speech, torch.full((8,), in_sync)).backward()
    assert torch.isfinite(face.grad).all()
    assert face.grad.abs().sum() > 0


def test_a_wrong_pair_costs_a_lot_but_not_infinity():
    face = unit(4)
    assert 6.9 < float(pair_loss(face, face, torch.zeros(4))) < 7.0


def test_losses_compute_in_float32_inside_autocast():
    face = unit(64).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert pair_loss(face, face, torch.ones(64)).dtype == torch.float32
        assert info_nce(face, face, torch.ones(64, 64), torch.tensor(10.0)).dtype == torch.float32


def test_info_nce_ignores_answers_of_weight_zero():
    face, speech = unit(6, seed=1), unit(6, seed=2)
    alone = info_nce(face, speech, torch.zeros(6, 6), torch.tensor(10.0))
    assert abs(float(alone)) < 1e-4  # nothing to confuse it with
    weight = torch.zeros(6, 6)
    weight[:3, :3] = weight[3:, 3:] = 1
    halves = [info_nce(face[s], speech[s], torch.ones(3, 3), torch.tensor(10.0)) for s in (slice(3), slice(3, 6))]
    assert torch.allclose(info_nce(face, speech, weight, torch.tensor(10.0)), sum(halves) / 2, atol=1e-5)


def test_equal_pictures_cost_nothing():
    x = torch.rand(2, 5, 3, 8, 16)
    weight = torch.ones(8, 16)
    assert weighted_l1(x, x, weight) == edge_loss(x, x) == motion_loss(x, x, weight) == 0


def test_motion_loss_sees_trembling_and_not_colour():
    real, weight = torch.rand(2, 1, 3, 8, 16).expand(2, 5, 3, 8, 16), torch.ones(8, 16)
    trembling = real + 0.1 * torch.tensor([1, -1, 1, -1, 1.0])[None, :, None, None, None]
    assert motion_loss(real + 0.1, real, weight) < 1e-6
    assert abs(float(motion_loss(trembling, real, weight)) - 0.2) < 1e-6
    assert weighted_l1(real + 0.1, real, weight) > 0.09


def test_second_differences_leave_steady_motion_free():
    weight, still = torch.ones(8, 16), torch.rand(2, 1, 3, 8, 16).expand(2, 5, 3, 8, 16)
    moving = still + 0.1 * torch.arange(5.0)[None, :, None, None, None]
    assert motion_loss(moving, still, weight, order=2) < 1e-6
    assert abs(float(motion_loss(moving, still, weight)) - 0.1) < 1e-6


def test_jitter_loss_asks_for_the_amount_and_not_for_the_direction():
    torch.manual_seed(0)
    weight, real = torch.ones(8, 16), torch.rand(1, 5, 3, 2, 4).repeat_interleave(4, 3).repeat_interleave(4, 4)
    assert jitter_loss(1 - real, real, weight) < 1e-5  # as much motion, all of it the other way
    half = jitter_loss(real / 2, real, weight)
    assert jitter_loss(real * 0 + 0.5, real, weight) > 2 * half > 0
    assert abs(float(half) - float(jitter_loss(real * 2, real, weight))) < 0.05
    still = torch.zeros(1, 5, 3, 8, 16, requires_grad=True)
    jitter_loss(still, still.detach(), weight).backward()
    assert torch.isfinite(still.grad).all()


def test_steady_loss_lets_a_person_be_learnt_and_no_frame_of_him():
    torch.manual_seed(0)
    base = [torch.rand(2, 5, 4, 6, 6), torch.rand(2, 5, 8, 3, 3)]
    person = [maps + torch.randn_like(maps[:, :1]) for maps in base]  # another look, the same in all frames
    by_heart = [maps + torch.randn_like(maps) for maps in base]
    assert steady_loss(base, base) == 0
    assert steady_loss(person, base) < 1e-5
    assert steady_loss(by_heart, base) > 1
    assert abs(float(steady_loss([maps * 0 for maps in base], base)) - 1) < 0.05  # features that do not move at all
    still = torch.zeros(1, 5, 4, 3, 3, requires_grad=True)
    steady_loss([still], [still.detach()]).backward()
    assert torch.isfinite(still.grad).all()


def test_held_loss_is_the_movement_of_blocks_that_no_speech_explains():
    weight = torch.ones(8, 16)
    ramp = torch.arange(5.0)[None, :, None, None, None].expand(2, -1, 3, 8, 16)
    assert held_loss(torch.rand(2, 1, 3, 8, 16).expand(-1, 5, -1, -1, -1), weight) == 0
    assert held_loss(0.1 * ramp, weight) == pytest.approx(0.1)
    assert held_loss(0.1 * ramp, 3 * weight) == pytest.approx(0.3)
    noise = torch.zeros(1, 5, 3, 8, 16)
    noise[:, ::2, ..., ::2], noise[:, ::2, ..., 1::2] = 1, -1  # within a block, where it has no mean
    assert held_loss(noise, weight) == 0


def test_hinges_rest_when_the_scores_are_clear():
    assert hinge_discriminator_loss(torch.full((4,), 2.0), torch.full((4,), -2.0)) == 0
    assert hinge_generator_loss(torch.full((4,), 3.0)) == -3


def test_windows_of_weight_zero_change_no_loss_and_the_others_count_as_if_they_were_alone():
    torch.manual_seed(3)
    weight_B = torch.tensor([2.0, 2.0, 0.0, 0.0])  # two of four are real
    real, output, mask = torch.rand(4, 5, 3, 8, 8), torch.rand(4, 5, 3, 8, 8), torch.rand(8, 8)
    face, speech, scale = torch.randn(4, 6), torch.randn(4, 6), torch.tensor(5.0)
    score, in_sync = torch.randn(20, 1, 2, 2), torch.tensor([1.0, 0.0, 1.0, 1.0])
    some = (weight_B > 0).float()
    pairs = [
        (weighted_l1(output, real, mask, weight_B), weighted_l1(output[:2], real[:2], mask)),
        (edge_loss(output, real, weight_B), edge_loss(output[:2], real[:2])),
        (motion_loss(output, real, mask, weight_B), motion_loss(output[:2], real[:2], mask)),
        (motion_loss(output, real, mask, weight_B, 2), motion_loss(output[:2], real[:2], mask, order=2)),
        (jitter_loss(output, real, mask, weight_B), jitter_loss(output[:2], real[:2], mask)),
        (steady_loss([output], [real], weight_B), steady_loss([output[:2]], [real[:2]])),
        (held_loss(output, mask, weight_B), held_loss(output[:2], mask)),
        (sync_loss(face, speech, "cosine", weight_B), sync_loss(face[:2], speech[:2])),
        (sync_loss(face, speech, "bce", weight_B), sync_loss(face[:2], speech[:2], "bce")),
        (pair_loss(face, speech, in_sync, weight_B), pair_loss(face[:2], speech[:2], in_sync[:2])),
        (
            info_nce(face, speech, some * some[:, None], scale, weight_B),
            info_nce(face[:2], speech[:2], torch.ones(2, 2), scale),
        ),
        (hinge_discriminator_loss(score, -score, weight_B), hinge_discriminator_loss(score[:10], -score[:10])),
        (hinge_generator_loss(score, weight_B), hinge_generator_loss(score[:10])),
    ]
    for masked, alone in pairs:
        assert torch.allclose(masked, alone, atol=1e-6)


def test_losses_of_detail_are_zero_for_equals_and_see_what_a_blur_takes_away():
    dice = torch.Generator().manual_seed(0)
    real = torch.rand(2, 5, 3, 21, 42, generator=dice)  # odd at the second level
    blurred = F.avg_pool2d(real.flatten(0, 1), 3, 1, 1).unflatten(0, (2, 5))
    for lose in (lambda a, b: edge_loss(a, b, levels=3), pyramid_loss):
        assert float(lose(real, real)) == 0
        assert float(lose(blurred, real)) > 0.01
    assert float(pyramid_loss(real + 0.3, real)) < 1e-6  # the coarse rest is L1's
    torch.testing.assert_close(edge_loss(blurred, real, levels=1), edge_loss(blurred, real))


def test_least_squares_are_zero_where_both_sides_are_content():
    assert float(lsgan_discriminator_loss(torch.ones(4), torch.zeros(4))) == 0
    assert float(lsgan_generator_loss(torch.ones(4))) == 0
    assert float(lsgan_generator_loss(torch.zeros(4))) == 0.5
    one = lsgan_discriminator_loss(torch.zeros(4, 3), torch.zeros(4, 3), torch.tensor([2.0, 0.0]))
    assert float(one) == 0.5


def test_feature_loss_is_a_mean_over_layers():
    a, b = torch.zeros(2, 3), torch.ones(2, 8)
    assert float(feature_loss([a, a], [a + 1, a])) == 0.5
    assert float(feature_loss([b], [b - 2], torch.tensor([1.0, 0.0]))) == 1.0


def test_a_learnt_meaning_of_the_cosine_is_a_logit():
    face, speech = unit(6, seed=1), unit(6, seed=2)
    chance = affine_loss(face, speech, torch.ones(6), torch.tensor(0.0), torch.tensor(0.0))
    assert float(chance) == pytest.approx(math.log(2))
    sure = affine_loss(face, face, torch.ones(6), torch.tensor(30.0), torch.tensor(-10.0))
    wrong = affine_loss(face, face, torch.zeros(6), torch.tensor(30.0), torch.tensor(-10.0))
    assert float(sure) == pytest.approx(0, abs=1e-6)
    assert float(wrong) == pytest.approx(20, abs=1e-4)


def test_every_pair_of_the_batch_is_asked_once_and_as_often_as_its_weight_says():
    face, speech = unit(4, seed=1), unit(4, seed=2)
    scale, bias = torch.tensor(10.0), torch.tensor(-3.0)
    weight = torch.tensor([[0, 1, 0, 2.5], [1, 0, 0, 0], [0, 0, 0, 0], [2.5, 0, 0, 0]])
    by_hand = 0.0
    for i in range(4):
        for j in range(4):
            pair = affine_loss(face[i : i + 1], speech[j : j + 1], torch.tensor([float(i == j)]), scale, bias)
            by_hand += float(pair) * (1.0 if i == j else float(weight[i, j]))
    assert float(pairwise_loss(face, speech, weight, scale, bias)) == pytest.approx(by_hand / 4, rel=1e-5)
    assert torch.equal(  # the weight of the diagonal says nothing
        pairwise_loss(face, speech, weight + 3 * torch.eye(4), scale, bias),
        pairwise_loss(face, speech, weight, scale, bias),
    )


def test_a_window_that_fills_up_changes_nothing_of_the_pairwise_loss():
    face, speech, some = unit(3, seed=1), unit(3, seed=2), torch.tensor([1.5, 1.5, 0.0])
    scale, bias = torch.tensor(10.0), torch.tensor(-3.0)
    real = (some > 0).float()
    filled = pairwise_loss(face, speech, real * real[:, None], scale, bias, some)
    assert float(filled) == pytest.approx(float(pairwise_loss(face[:2], speech[:2], torch.ones(2, 2), scale, bias)))


@pytest.mark.parametrize("loss", ["affine", "pairwise"])
def test_temperature_and_bias_learn_in_float32_inside_autocast(loss):
    face, speech = unit(8, seed=1).to(torch.bfloat16), unit(8, seed=2).to(torch.bfloat16)
    scale, bias = torch.tensor(10.0, requires_grad=True), torch.tensor(-10.0, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        if loss == "affine":
            value = affine_loss(face, speech, torch.ones(8), scale, bias)
        else:
            value = pairwise_loss(face, speech, torch.ones(8, 8), scale, bias)
    value.backward()
    assert value.dtype == torch.float32
    assert scale.grad.abs() > 0
    assert bias.grad.abs() > 0
